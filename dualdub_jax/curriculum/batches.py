"""The batches of each kind of phase, for this process's share of the global batch."""

from collections.abc import Mapping, Sequence

from dualdub_jax.codecs.base import Codec, MakeCrops
from dualdub_jax.codecs.registry import codec_config
from dualdub_jax.config import Config, SourceConfig, StageConfig
from dualdub_jax.data_pipeline import loader, stem_pairs
from dualdub_jax.data_pipeline.batch_iterator import BatchIterator
from dualdub_jax.types import Stream

Share = tuple[int, int]  # (index, count), see `parallel.mesh.batch_share`


def no_batches(batch_size: int, crop_frames: int | None, target: tuple[int, int] | None = None) -> None:
    """A `MakeCrops` where a codec's phases are only looked at."""


def codec_mixture(config: Config, stream: Stream) -> Sequence[SourceConfig]:
    """The mixture that trains a stream's codec."""
    training = getattr(codec_config(config, stream), "training", None)
    return getattr(training, "mixture", ())


def decoder_mixture(config: Config, stream: Stream) -> Sequence[SourceConfig]:
    """The mixture of its own that trains a stream's waveform decoder; empty: that of the codec."""
    training = getattr(config.streams[stream].decoder, "training", None)
    return getattr(training, "mixture", ())


def codec_batches(config: Config, stream: Stream, share: Share) -> MakeCrops:
    """Makes batches of crops for the phases of a stream's codec."""
    return _crops(config, stream, share, codec_mixture(config, stream), "codec")


def decoder_batches(config: Config, stream: Stream, share: Share) -> MakeCrops:
    """Makes batches of crops for the phases of a stream's waveform decoder."""
    mixture = decoder_mixture(config, stream)
    if mixture:
        return _crops(config, stream, share, mixture, "decoder")
    return codec_batches(config, stream, share)


def _crops(
    config: Config, stream: Stream, share: Share, mixture: Sequence[SourceConfig], part: str
) -> MakeCrops:
    process_index, process_count = share

    def make(
        batch_size: int, crop_frames: int | None, target: tuple[int, int] | None = None
    ) -> BatchIterator:
        return loader.make_codec_batches(
            config,
            stream,
            mixture=mixture,
            target=target,
            part=part,
            seed=config.seed,
            batch_size=batch_size,
            crop_frames=crop_frames or codec_config(config, stream).training.crop_frames,
            process_index=process_index,
            process_count=process_count,
            num_workers=config.num_loader_workers,
        )

    return make


def stage_batches(
    config: Config,
    codecs: Mapping[Stream, Codec],
    token_cache: loader.TokenCache,
    share: Share,
    stage: StageConfig,
    token_fingerprints: Mapping[Stream, str] | None = None,
) -> BatchIterator:
    """Batches of a curriculum stage, or of the video encoder's phase as one; see `loader.make_batches`."""
    process_index, process_count = share
    return loader.make_batches(
        config,
        stage,
        codecs,
        seed=config.seed,
        process_index=process_index,
        process_count=process_count,
        num_workers=config.num_loader_workers,
        token_cache=token_cache,
        token_fingerprints=token_fingerprints,
    )


def pair_batches(config: Config, share: Share) -> BatchIterator:
    """Batches of stem pairs for CASP."""
    process_index, process_count = share
    return stem_pairs.make_pair_batches(
        config,
        seed=config.seed,
        process_index=process_index,
        process_count=process_count,
        num_workers=config.num_loader_workers,
    )
