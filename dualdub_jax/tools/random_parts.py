"""Writes random frozen parts where a config names them, for runs in miniature.

    python -m dualdub_jax.tools.random_parts --config dualdub:tiny
    dualdub train --config dualdub:tiny --workdir runs/dualdub_tiny

Codecs with a path, autoencoders of waveform decoders, CLIP features and a `.tiktoken` vocabulary are written
in the formats of real ones, of the config's sizes and with random weights: a run with them tests a setup, and
means nothing.
"""

import argparse
import base64
import dataclasses
import hashlib
import pathlib
import sys
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.checkpoints.converted import write_converted
from dualdub_jax.codecs.public_weights import jsonable_sizes
from dualdub_jax.codecs.registry import codec_class, codec_config
from dualdub_jax.config import Config, load_config
from dualdub_jax.decoders.oobleck.autoencoder import abstract_autoencoder
from dualdub_jax.decoders.oobleck.config import OobleckConfig
from dualdub_jax.encoders.base import FEATURE_EXTRACTORS
from dualdub_jax.encoders.clip.extractor import ClipExtractor
from dualdub_jax.encoders.clip.tower import ClipConfig, ClipTower
from dualdub_jax.errors import UserError
from dualdub_jax.text.tokenizer import vocabulary_file
from dualdub_jax.types import STREAMS

_SOURCE = {"converted_from": "random values", "sha256": hashlib.sha256(b"random").hexdigest()}
# Pieces of English words, so that tokens are more than bytes.
_MERGES = [
    "th", "he", "in", "er", "an", "re", "on", "at", "en", "nd", "st", "es", "ng", "to", "or", "it", "is",
    "ed", "ar", "ou", "ve", "te", "me", "ing", "and", "the",
]  # fmt: skip


def write_random_parts(config: Config, seed: int = 0) -> list[pathlib.Path]:
    """Writes the parts of a config that do not exist yet.

    Args:
        config: of the run.
        seed: of the values.

    Returns:
        What was written.

    Raises:
        UserError: a place that cannot be written.
    """
    written = []
    for stream in STREAMS:
        codec = codec_config(config, stream)
        path = getattr(codec, "path", "")
        if path and not pathlib.Path(path).exists():
            variables = codec_class(config, stream).init(codec, jax.random.key(seed))
            variables = jax.tree.map(np.asarray, nn.unbox(variables))
            write_converted(pathlib.Path(path), codec.kind, jsonable_sizes(codec), variables, _SOURCE)
            written.append(pathlib.Path(path))
        written += _write_autoencoder(config.streams[stream].decoder, seed)
    if config.video_features.extractor:
        written += _write_clip(config, seed)
    vocabulary = vocabulary_file(config.model)
    if vocabulary is not None and vocabulary.suffix == ".tiktoken" and not vocabulary.exists():
        vocabulary.parent.mkdir(parents=True, exist_ok=True)
        vocabulary.write_text(_vocabulary(), encoding="ascii")
        written.append(pathlib.Path(vocabulary))
    return written


def _write_autoencoder(decoder: Any, seed: int) -> list[pathlib.Path]:
    path = getattr(decoder, "path", "")
    if not path or pathlib.Path(path).exists():
        return []
    sizes: OobleckConfig = decoder.oobleck
    rng = np.random.default_rng(seed)
    params = jax.tree.map(
        lambda x: (0.1 * rng.normal(size=x.shape)).astype(x.dtype), abstract_autoencoder(sizes)
    )
    write_converted(pathlib.Path(path), "oobleck", dataclasses.asdict(sizes), params, _SOURCE)
    return [pathlib.Path(path)]


def _write_clip(config: Config, seed: int) -> list[pathlib.Path]:
    found, arguments = FEATURE_EXTRACTORS.find(config.video_features.extractor)
    path = pathlib.Path(arguments.get("path", ""))
    if found is not ClipExtractor or not arguments.get("path") or path.exists():
        return []
    sizes = ClipConfig(
        width=32,
        num_layers=1,
        num_heads=2,
        mlp_width=64,
        patch_size=16,
        image_size=32,
        embedding_dim=config.model.video.feature_dim,
    )
    images = jnp.zeros((1, sizes.image_size, sizes.image_size, 3), jnp.uint8)
    params: Any = nn.unbox(ClipTower(sizes).init(jax.random.key(seed), images)["params"])
    write_converted(path, "clip", dataclasses.asdict(sizes), jax.tree.map(np.asarray, params), _SOURCE)
    return [path]


def _vocabulary() -> str:
    tokens = [*(bytes([byte]) for byte in range(256)), *(merge.encode() for merge in _MERGES)]
    return "".join(f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="a config's name or file, such as dualdub:tiny")
    parser.add_argument("--seed", type=int, default=0, help="of the values (default: 0)")
    args = parser.parse_args()
    try:
        written = write_random_parts(load_config(args.config), args.seed)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(f"wrote {path}" for path in written) or "nothing to write: all parts exist")
    return 0


if __name__ == "__main__":
    sys.exit(main())
