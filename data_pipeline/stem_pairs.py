"""Batches of stem pairs for CASP: the same stretch of a clip's speech and of its background."""

import functools
import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dualdub_jax.casp.kaldi_fbank import SAMPLE_RATE_HZ
from dualdub_jax.config import Config, SourceConfig
from dualdub_jax.data_pipeline import mixture as curriculum
from dualdub_jax.data_pipeline.batch_iterator import BatchIterator, NumberedBatches
from dualdub_jax.data_pipeline.held_out import open_held_out
from dualdub_jax.data_pipeline.mixed_examples import describe_stream, mix_examples, take_share
from dualdub_jax.data_pipeline.record import Record, clip_id, decode_stem, duration_s
from dualdub_jax.errors import UserError
from dualdub_jax.training.held_out import HeldOutSets
from dualdub_jax.types import STREAMS, Stream


class CropPair:
    """Record to one random crop of both stems, at the same offset; a `replacement.Transform`.

    A clip that is shorter than a crop is taken whole and zero-padded at its end.

    Args:
        source_name: name of the dataset, for ids and errors.
        sample_rate_hz: of the crops; stems stored at another rate are resampled.
        crop_samples: length of a crop.
    """

    def __init__(self, source_name: str, sample_rate_hz: int, crop_samples: int) -> None:
        self._source_name = source_name
        self._sample_rate_hz = sample_rate_hz
        self._crop_samples = crop_samples

    def begin(self, rng: np.random.Generator) -> Callable[[Record], dict[str, Any]]:
        """See `replacement.Transform`."""
        return functools.partial(self.crop, rng=rng)

    def crop(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        """A random crop of a record's stems.

        Raises:
            UserError: a record that breaks the schema or lacks a stem.
        """
        stems = self.stems(record)
        num_samples = len(stems["speech"])
        start = int(rng.integers(max(num_samples - self._crop_samples, 0) + 1))
        example: dict[str, Any] = {}
        for stream, stem in stems.items():
            crop = stem[start : start + self._crop_samples]
            example[stream] = np.pad(crop, (0, self._crop_samples - len(crop)))
        example["has_both"] = np.bool_(all(crop.any() for crop in example.values()))
        return example | {"example_ids": clip_id(self._source_name, record)}

    def stems(self, record: Record) -> dict[Stream, np.ndarray]:
        """Both stems whole, float32[S] each; a `UserError` if the clip lacks one."""
        clip = clip_id(self._source_name, record)
        for stream in STREAMS:
            if not record[stream]:
                raise UserError(
                    f"{clip}: has no {stream} stem; take {self._source_name} out of casp_training.mixture"
                )
        length_s = duration_s(record, clip)
        return {
            stream: decode_stem(record[stream], clip, length_s, self._sample_rate_hz) for stream in STREAMS
        }


def make_pair_batches(
    config: Config,
    *,
    mixture: Sequence[SourceConfig] | None = None,
    split: str = "train",
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
) -> BatchIterator:
    """Random crops of stem pairs, endlessly.

    Args:
        config: for `casp_training` (mixture, batch size of all processes together), the length of a crop
            in `casp`, and `data_dir`. Crops are at CASP's own rate.
        mixture: datasets and their weights; None: those of `casp_training`.
        split: which split of every dataset in the mixture.
        seed: of the order and of the crops.
        process_index: this process.
        process_count: how many processes share a global batch.
        num_workers: decoding processes; 0 decodes in threads.

    Returns:
        An iterator of {"speech": float32[B, S], "background": float32[B, S], "has_both": bool[B] (False
        where a stem is silent), "example_ids": list[str]}.

    Raises:
        UserError: as `loader.make_batches`.
    """
    where = "casp_training.mixture"
    training = config.casp_training
    mixture = training.mixture if mixture is None else mixture
    sources = curriculum.open_mixture(config.data_dir, mixture, split, where)
    examples = mix_examples(
        sources,
        lambda source: CropPair(source.name, SAMPLE_RATE_HZ, config.casp.train_crop_samples),
        seed=[seed, zlib.crc32(where.encode())],
        repeat=True,
        shuffle=True,
    )
    size = training.batch_size

    def held_out(num_clips: int) -> HeldOutSets:
        def make(source: SourceConfig, split: str) -> BatchIterator:
            share = {"process_index": process_index, "process_count": process_count}
            pairs = make_pair_batches(config, mixture=(source,), split=split, seed=seed, **share)
            return pairs.head(math.ceil(num_clips / size))

        return open_held_out(config.data_dir, mixture, make)

    batches = NumberedBatches(take_share(examples, size, process_index, process_count, "casp_training"))
    stream = describe_stream(where, sources, split, seed, size, True, True)
    return BatchIterator(batches, lambda batch: batch, num_workers, stream, held_out)
