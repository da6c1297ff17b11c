"""Configs and parameters of older bundles, brought to the names of today."""

from typing import Any

# Import paths of classes that have moved: old module -> new module.
_MOVED = {"dualdub_jax.models.aligner:": "dualdub_jax.models.aligners.grid:"}


def upgrade_config(values: dict[str, Any]) -> dict[str, Any]:
    """The config of a bundle of format 1 in the keys of today."""
    aligner = values.get("model", {}).get("aligner", {})
    for key in ("mutual", "noncausal"):
        for old, new in _MOVED.items():
            if str(aligner.get(key, "")).startswith(old):
                aligner[key] = new + aligner[key][len(old) :]
    return values
