"""A model small enough to compile in seconds, and batches of noise for it."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from dualdub_jax.codecs.mel_rvq.config import MelRVQConfig
from dualdub_jax.codecs.registry import grid_spec
from dualdub_jax.config import (
    AlignerConfig,
    Config,
    GridConfig,
    ModelConfig,
    StreamConfig,
    StreamsConfig,
    VideoEncoderConfig,
)
from dualdub_jax.models.batch import example_batch
from dualdub_jax.models.dualdub import make_model
from dualdub_jax.types import STREAMS, Batch

CODEC = MelRVQConfig(
    num_codebooks=3,
    codebook_size=16,
    width=16,
    num_blocks=1,
    num_unquantised_steps=2,
    vocoder_width=16,
    vocoder_num_blocks=1,
)


def with_codec(config: Config, stream: str, **changes: Any) -> Config:
    """The config with some keys of a stream's codec changed."""
    group = config.streams[stream]
    group = dataclasses.replace(group, codec=dataclasses.replace(group.codec, **changes))
    return dataclasses.replace(config, streams=dataclasses.replace(config.streams, **{stream: group}))


def with_training(config: Config, stream: str, **changes: Any) -> Config:
    """The config with some keys of the training of a stream's codec changed."""
    training = dataclasses.replace(config.streams[stream].codec.training, **changes)
    return with_codec(config, stream, training=training)


def tiny_config(**changes) -> Config:
    """12 frames of 16 x 16 pixels, width 32, two layers."""
    config = Config(
        name="test",
        grid=GridConfig(num_frames=12, frame_size=16, num_script_tokens=8, num_voice_frames=4),
        streams=StreamsConfig(
            speech=StreamConfig(codec=CODEC),
            background=StreamConfig(codec=dataclasses.replace(CODEC, num_codebooks=2)),
        ),
        model=ModelConfig(
            width=32,
            num_layers=2,
            num_heads=2,
            num_kv_heads=1,
            head_dim=16,
            mlp_width=48,
            head_width=24,
            num_speaker_vectors=2,
            speaker_width=16,
            num_acoustics_bins=5,
            video=VideoEncoderConfig(patch_size=8, patch_width=8, merge_widths=(16,), num_layers=1),
            aligner=AlignerConfig(use_script=True, num_heads=2, head_dim=8, max_relative_frames=4),
        ),
    )
    return dataclasses.replace(config, **changes)


def random_batch(config: Config, batch_size: int, seed: int = 0) -> Batch:
    """All conditions and targets present, all frames valid."""
    rng = np.random.default_rng(seed)
    batch = jax.tree.map(np.asarray, example_batch(config, batch_size))
    fields: dict[str, Any] = {
        "script_tokens": rng.integers(1, config.model.script_vocab_size, batch.script_tokens.shape, np.int32),
        "script_alignment": np.sort(
            rng.integers(-1, batch.script_tokens.shape[1], batch.frame_mask.shape), axis=1
        ),
        "voice": rng.normal(size=batch.voice.shape).astype(np.float32) * 0.1,
        "acoustics": rng.uniform([0.06, -79.0], [3.0, -21.0], batch.acoustics.shape).astype(np.float32),
    }
    if batch.video is not None:
        fields["video"] = rng.integers(0, 256, batch.video.shape, np.uint8)
    if batch.video_features is not None:
        fields["video_features"] = rng.normal(size=batch.video_features.shape).astype(np.float32)
    for stream in STREAMS:
        name = f"{stream}_tokens"
        size = grid_spec(config, stream).codebook_size
        fields[name] = rng.integers(0, size, getattr(batch, name).shape, np.int32)
    return batch.replace(**fields)


def random_params(config: Config, seed: int = 0):
    """Parameters of the model with every array perturbed, so that no gate or bias is zero."""
    params = nn.unbox(make_model(config).init(jax.random.key(seed), example_batch(config))["params"])
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    noise = [0.1 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, [leaf + n for leaf, n in zip(leaves, noise, strict=True)])
