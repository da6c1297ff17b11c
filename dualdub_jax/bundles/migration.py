"""Migration of bundles of format 1 (before version 0.2) to current config keys and parameter names."""

from collections.abc import Callable
from typing import Any

from dualdub_jax.errors import UserError
from dualdub_jax.types import STREAMS

# Config keys, at any level.
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
# Segments of parameter paths.
_SEGMENTS = {
    "room_encoder": "acoustics_encoder",
    "room_head": "acoustics_head",
    "voice_encoder": "speaker_encoder",
    "voice_reader": "speaker_encoder",
    "room_renderer": "acoustics_renderer",
}
# First segments of the model's parameter paths.
_MODEL_PARTS = {"video_aligner": "aligner/noncausal", "stream_aligner": "aligner/causal"}
_OWN_ALIGNERS = ("dualdub_jax.models.aligner:MutualAligner", "dualdub_jax.models.aligner:NonCausalAligner")


def upgrade_config(values: dict[str, Any], version: int, where: str) -> dict[str, Any]:
    """Converts the config of a bundle to current keys.

    Args:
        values: JSON of the config.
        version: format of the bundle.
        where: the bundle, for messages.

    Raises:
        UserError: its aligner is a fork's class for the interface of format 1.
    """
    if version >= 2:
        return values
    values = _rename_keys(values)
    aligner = values.get("model", {}).get("aligner", {})
    for key in ("mutual", "noncausal"):
        path = aligner.pop(key, _OWN_ALIGNERS[0])
        if path not in _OWN_ALIGNERS:
            raise UserError(
                f"{where}: its aligner {path} implements the interface of format 1; retrain it "
                "with config.model.aligner.kind (docs/forking.md)"
            )
    for stage in values.get("stages", []):
        stage["drop"] = ["acoustics" if part == "room" else part for part in stage.get("drop", [])]
    grid = values.get("grid", {})
    rates = {key: grid[key] for key in ("sample_rate_hz", "frame_rate_hz") if key in grid}
    values["streams"] = {}
    for stream in STREAMS:
        codec = values.pop(f"{stream}_codec", {})
        training = values.pop(f"{stream}_codec_training", {})
        values["streams"][stream] = {"codec": {"kind": "mel_rvq", **rates, **codec, "training": training}}
    return values


def _rename_keys(node: Any) -> Any:
    if isinstance(node, dict):
        return {_KEYS.get(key, key): _rename_keys(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_rename_keys(value) for value in node]
    return node


def parameter_renamer(version: int) -> Callable[[str], str]:
    """Returns a function from a parameter's stored path ("model/backbone/…") to its current path."""

    def rename(path: str) -> str:
        first, *rest = (_SEGMENTS.get(segment, segment) for segment in path.split("/"))
        if first == "model":
            rest[0] = _MODEL_PARTS.get(rest[0], rest[0])
        return "/".join([first, *rest])

    return rename if version < 2 else lambda path: path
