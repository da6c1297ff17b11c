"""Bundles of format 1 (before version 0.2), brought to the keys and parameter names of today."""

from collections.abc import Callable
from typing import Any

# Config keys, wherever they stand.
_KEYS = {
    "room_num_blocks": "acoustics_num_blocks",
    "room_width": "acoustics_width",
    "room_kernel_size": "acoustics_kernel_size",
    "room_num_steps": "acoustics_num_steps",
    "room_batch_size": "acoustics_batch_size",
    "room_crop_frames": "acoustics_crop_frames",
    "room_optimizer": "acoustics_optimizer",
    "room_weight": "acoustics_weight",
    "reading_weight": "alignment_weight",
    "num_room_bins": "num_acoustics_bins",
    "voice_dim": "speaker_dim",
    "num_voice_vectors": "num_speaker_vectors",
    "voice_width": "speaker_width",
    "takes_video_encoder": "use_pretrained_video_encoder",
    "vocoder_adversary_optimizer": "vocoder_discriminator_optimizer",
}
# Import paths of classes that have moved: old module -> new module.
_MOVED = {"dualdub_jax.models.aligner:": "dualdub_jax.models.aligners.grid:"}
# Segments of parameter paths.
_SEGMENTS = {
    "room_encoder": "acoustics_encoder",
    "room_head": "acoustics_head",
    "voice_encoder": "speaker_encoder",
    "voice_reader": "speaker_encoder",
    "room_renderer": "acoustics_renderer",
}


def upgrade_config(values: dict[str, Any], version: int) -> dict[str, Any]:
    """The config of a bundle in the keys of today.

    Args:
        values: JSON of the config.
        version: format of the bundle.
    """
    if version >= 2:
        return values
    values = _rename_keys(values)
    aligner = values.get("model", {}).get("aligner", {})
    for key in ("mutual", "noncausal"):
        for old, new in _MOVED.items():
            if str(aligner.get(key, "")).startswith(old):
                aligner[key] = new + aligner[key][len(old) :]
    for stage in values.get("stages", []):
        stage["drop"] = ["acoustics" if part == "room" else part for part in stage.get("drop", [])]
    return values


def _rename_keys(node: Any) -> Any:
    if isinstance(node, dict):
        return {_KEYS.get(key, key): _rename_keys(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_rename_keys(value) for value in node]
    return node


def parameter_renamer(version: int) -> Callable[[str], str]:
    """A function from a parameter's path in the bundle ("model/backbone/…") to its path of today."""
    if version >= 2:
        return lambda path: path
    return lambda path: "/".join(_SEGMENTS.get(segment, segment) for segment in path.split("/"))
