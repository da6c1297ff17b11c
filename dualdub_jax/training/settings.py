"""What a checkpoint was begun with, compared with what goes on from it."""

import json
import pathlib
from typing import Any

from dualdub_jax.errors import UserError

_ABSENT = object()
# How a step is computed on the machine at hand; its result is the same but for rounding.
_OF_THE_MACHINE = ("model.remat_policy", "model.attention_implementation")


def check_settings(
    saved: dict[str, Any], wanted: dict[str, Any], defaults: dict[str, Any], where: pathlib.Path
) -> None:
    """Compares settings key by key.

    A key that the checkpoint does not have is younger than the checkpoint, which was then made with what is
    the key's default now: it must have that. What depends on the machine may change.

    Args:
        saved: JSON of the checkpoint.
        wanted: of the run, as `Phase.settings`.
        defaults: as `wanted`, with every key of the config at its default.
        where: of the checkpoints, for the message.

    Raises:
        UserError: naming the first key that differs.
    """
    have, want, default = _flatten(saved), _flatten(_as_json(wanted)), _flatten(_as_json(defaults))
    for key in [*want, *have]:
        if key in _OF_THE_MACHINE:
            continue
        was = have.get(key, default.get(key, _ABSENT))
        now = want.get(key, _ABSENT)
        if was != now:
            was, now = ("absent" if value is _ABSENT else value for value in (was, now))
            raise UserError(
                f"{where}: was begun with {key}={was}, now it is {now}; "
                "use the same config, or another --workdir"
            )


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(tree, list):
        tree = {str(i): value for i, value in enumerate(tree)}
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}.{key}" if prefix else key)
    return flat
