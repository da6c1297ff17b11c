"""What `dualdub data prepare` derives for a config: frozen video features, and codec tokens of a bundle."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from dualdub_jax.bundles.bundle import load_bundle
from dualdub_jax.codecs.base import Codec, CodecSpec
from dualdub_jax.codecs.registry import (
    codec_class,
    codec_config,
    make_codec,
    make_codecs,
    pretrained_codec,
)
from dualdub_jax.config import Config
from dualdub_jax.data_pipeline import record as record_lib
from dualdub_jax.data_pipeline.frame_times import num_frames_of
from dualdub_jax.data_pipeline.prepare import Derivation
from dualdub_jax.data_pipeline.record import Record, text
from dualdub_jax.data_pipeline.stem import Stem
from dualdub_jax.encoders.base import FeatureExtractor
from dualdub_jax.encoders.extraction import make_extractor
from dualdub_jax.errors import UserError
from dualdub_jax.media.record_video import decode_frames
from dualdub_jax.stores.path import StorePath, as_path
from dualdub_jax.types import STREAMS, Stream

FEATURES = "video_features"
_ROWS = 8  # clips in one call of a codec


def derivations(config: Config, codecs_from: StorePath | str | None = None) -> list[Derivation]:
    """All that can be derived for training with a config.

    Args:
        config: its extractor, if its model reads features; the time grid of tokens; and its codecs, if they
            have public weights.
        codecs_from: a bundle whose codecs make tokens of both streams.

    Raises:
        UserError: there is nothing to derive, no such bundle, or an extractor that the model cannot read.
    """
    found = []
    extractor = make_extractor(config)
    if extractor is not None:
        found.append(feature_derivation(extractor))
    if codecs_from:
        saved, params = load_bundle(codecs_from)
        if saved.grid.frame_rate != config.grid.frame_rate:
            raise UserError(
                f"{codecs_from}: its grid has {float(saved.grid.frame_rate):g} frames a second, and the "
                f"config's {float(config.grid.frame_rate):g}; give a bundle of the same frame rate"
            )
        variables = {stream: params[f"{stream}_codec"] for stream in STREAMS}
        codecs = make_codecs(saved, variables)
        for stream in STREAMS:
            fingerprint = token_fingerprint(saved, stream, codecs[stream].spec, variables[stream])
            found.append(token_derivation(stream, codecs[stream], fingerprint, config.grid.num_frames))
    else:
        found += _public_codecs(config)
    if not found:
        raise UserError(
            f"config.model.video.kind={config.model.video.kind}: reads no video features, and no codecs are "
            "given, so there is nothing to prepare; give --codecs-from BUNDLE"
        )
    return found


def bundle_of_codecs(config: Config) -> StorePath | None:
    """The bundle whose codecs a run takes as they are; None: it trains some, or takes a run's checkpoints."""
    if not config.codecs_from or config.train_codecs:
        return None
    folder = as_path(config.codecs_from, "codecs_from")
    return folder if (folder / "config.json").is_file() else None


def _public_codecs(config: Config) -> list[Derivation]:
    """Tokens of codecs that are never trained; one of both streams is read once."""
    found, read = [], {}
    for stream in STREAMS:
        if not has_public_weights(config, stream):
            continue
        settings = codec_config(config, stream)
        if settings not in read:
            variables = pretrained_codec(config, stream)
            codec = make_codec(config, stream, variables)
            read[settings] = codec, token_fingerprint(config, stream, codec.spec, variables)
        found.append(token_derivation(stream, *read[settings], config.grid.num_frames))
    return found


def has_public_weights(config: Config, stream: Stream) -> bool:
    """Whether a stream's codec has weights of its own and is not trained."""
    found = codec_class(config, stream)
    return hasattr(found, "pretrained") and not hasattr(found, "training")


def token_kind(stream: Stream) -> str:
    """The kind of sidecar that holds a stream's tokens."""
    return f"{stream}_tokens"


def token_fingerprint(config: Config, stream: Stream, spec: CodecSpec, variables: Any) -> str:
    """The fingerprint of a stream's codec: settings of its training do not count.

    Args:
        config: with the codec's settings.
        stream: whose codec.
        spec: of the codec on the grid.
        variables: of the codec.
    """
    settings = codec_config(config, stream)
    if hasattr(settings, "training"):
        settings = dataclasses.replace(settings, training=type(settings)().training)
    return fingerprint_of([settings, spec], variables)


def feature_derivation(extractor: FeatureExtractor) -> Derivation:
    """Features of each clip's frames at the extractor's rate, float32[F, D_video]."""

    def encode(records: list[Record]) -> list[np.ndarray | None]:
        return [_features(extractor, record) if record["video"] else None for record in records]

    return Derivation(FEATURES, extractor.fingerprint, encode)


def _features(extractor: FeatureExtractor, record: Record) -> np.ndarray:
    clip, spec = text(record["id"]), extractor.frame_spec
    num_frames = num_frames_of(record_lib.duration_s(record, clip), spec.frame_rate)
    try:
        frames = decode_frames(record["video"], spec, 0, num_frames)
    except ValueError as error:
        raise UserError(f"{clip}: its video {error}; build the dataset again") from error
    return np.asarray(extractor.extract(frames), np.float32)


def token_derivation(stream: Stream, codec: Codec, fingerprint: str, num_frames: int) -> Derivation:
    """Tokens of each whole stem on the time grid, int32[T, Q].

    Args:
        stream: whose stems.
        codec: on the grid.
        fingerprint: of the codec.
        num_frames: clips are padded to a multiple of it, so that the codec compiles for few shapes. Padding
            is masked: the tokens are those of the clip alone.
    """

    def encode(records: list[Record]) -> list[np.ndarray | None]:
        tokens: list[np.ndarray | None] = [None] * len(records)
        stems = {}
        for row, record in enumerate(records):
            clip, flac = text(record["id"]), bytes(record[stream])
            duration_s = record_lib.duration_s(record, clip)
            length = num_frames_of(duration_s, codec.spec.frame_rate)
            if flac:
                stems[row] = Stem(clip, flac, duration_s, length, 0, length)
        by_shape: dict[int, list[int]] = {}
        for row, stem in stems.items():
            by_shape.setdefault(-(-stem.num_frames // num_frames) * num_frames, []).append(row)
        for padded, rows in by_shape.items():
            for first in range(0, len(rows), _ROWS):
                group = rows[first : first + _ROWS]
                for row, found in zip(group, _tokens(codec, [stems[r] for r in group], padded), strict=True):
                    tokens[row] = found
        return tokens

    return Derivation(token_kind(stream), fingerprint, encode)


def _tokens(codec: Codec, stems: Sequence[Stem], padded: int) -> list[np.ndarray]:
    waveform = np.zeros((_ROWS, padded * codec.spec.samples_per_frame), np.float32)
    frame_mask = np.zeros((_ROWS, padded), np.bool_)
    for row, stem in enumerate(stems):
        samples = stem.decode(codec.spec)
        waveform[row, : len(samples)] = samples
        frame_mask[row, : stem.num_frames] = True
    encoded = np.asarray(codec.encode(waveform, frame_mask))
    return [encoded[row, : stem.num_frames].copy() for row, stem in enumerate(stems)]


def fingerprint_of(settings: Any, variables: Any) -> str:
    """16 hexadecimal digits that change with an encoder's settings and with any of its variables.

    Args:
        settings: frozen dataclasses, sets, sequences, and anything else whose `repr` tells its values.
        variables: a pytree of arrays.
    """
    digest = hashlib.sha256(_described(settings).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)}{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _described(value: Any) -> str:
    """The same text in every process, where the `repr` of a set depends on a random seed."""
    if dataclasses.is_dataclass(value):
        fields = (
            f"{field.name}={_described(getattr(value, field.name))}" for field in dataclasses.fields(value)
        )
        return f"{type(value).__name__}({', '.join(fields)})"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(_described, value)))}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_described, value))}]"
    return repr(value)
