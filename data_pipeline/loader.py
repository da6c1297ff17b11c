"""Batches for training, of a stage's mixture and of crops for codecs.

The stream of global batches is a function of (config, stage, seed) and nothing else: not of the number of
threads, workers or processes. Batch k of a stream is made from indices alone, or from indices and the lengths
of clips (`length_buckets.py`), so a run can go on from a position on another number of processes.
"""

import dataclasses
import itertools
import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grain
import numpy as np

from dualdub_jax.codecs.registry import codec_spec
from dualdub_jax.config import AugmentationConfig, Config, SourceConfig, StageConfig
from dualdub_jax.data_pipeline import mixture as curriculum
from dualdub_jax.data_pipeline.augmentation import Augment, check_augmentation, is_augmenting
from dualdub_jax.data_pipeline.batch_iterator import BatchIterator, HostBatch, NumberedBatches
from dualdub_jax.data_pipeline.clip_lengths import clip_lengths
from dualdub_jax.data_pipeline.example import MakeExample, unfilled_example
from dualdub_jax.data_pipeline.held_out import open_held_out
from dualdub_jax.data_pipeline.length_buckets import (
    Bucket,
    BucketBatches,
    BucketPlan,
    bucket_numbers,
    buckets_of,
    with_num_frames,
)
from dualdub_jax.data_pipeline.mixed_examples import (
    check_batch_size,
    describe_stream,
    mix_examples,
    mix_indices,
    take_share,
)
from dualdub_jax.data_pipeline.prepared import with_features_of, with_tokens
from dualdub_jax.data_pipeline.replacement import Transform
from dualdub_jax.data_pipeline.stem_crops import CropStem
from dualdub_jax.data_pipeline.stem_tokens import StemTokenizer, TokenCache
from dualdub_jax.data_pipeline.video_features import FeatureComputer
from dualdub_jax.encoders.extraction import make_extractor
from dualdub_jax.errors import UserError
from dualdub_jax.models.batch import check_tokens, validate_batch
from dualdub_jax.text.tokenizer import make_tokenizer
from dualdub_jax.training.held_out import HeldOutSets
from dualdub_jax.types import PARTS, Stream

if TYPE_CHECKING:
    from dualdub_jax.codecs.base import Codec

# Of a batch from grain, beside the fields that steps read.
_BESIDE_FIELDS = ("example_ids", "bad_records")


def make_batches(
    config: Config,
    stage: StageConfig,
    codecs: "Mapping[Stream, Codec]",
    *,
    split: str = "train",
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
    repeat: bool = True,
    shuffle: bool = True,
    max_clips: int | None = None,
    is_strict: bool | None = None,
    token_cache: TokenCache | None = None,
    token_fingerprints: Mapping[Stream, str] | None = None,
) -> BatchIterator:
    """Host batches of a curriculum stage.

    Args:
        config: for its grid, tokenizer and `data_dir`.
        stage: its mixture, its `batch_size` of all processes together, what it drops, and its buckets and
            augmentation, which a single pass does not have.
        codecs: the codec of each stream; a jitted one compiles once.
        split: which split of every dataset in the mixture.
        seed: of the order and of random crops.
        process_index: this process; it gets rows [i * n, (i + 1) * n) of each global batch of
            process_count * n rows.
        process_count: how many processes share a global batch.
        num_workers: decoding processes; 0 decodes in threads.
        repeat: endless epochs, each in another order. False: one pass that stops where the first dataset
            of the mixture ends; the last batch is filled up with empty examples of id "".
        shuffle: False keeps the order of the files.
        max_clips: of one pass; None: no limit.
        is_strict: a record that cannot be used is an error, and not replaced by another; None: in a single
            pass.
        token_cache: codec tokens that are known already, read and added to; share one between stages that
            use the same codecs and split. None begins an empty one.
        token_fingerprints: of codecs that are not trained (`derivations.token_fingerprint`), whose tokens are
            read from sidecars where there are some.

    Returns:
        An iterator of dictionaries: the fields of `models.batch.batch_fields`, and "example_ids": list[str],
        each "dataset:id".

    Raises:
        UserError: a mixture that `curriculum.open_mixture` refuses, a batch size that is not a multiple of
            `process_count`, or an unknown part in `drop`. While iterating: no usable record in many
            draws; without `repeat`, any record that cannot be used.
    """
    where = f"stage {stage.name!r}: mixture"
    extractor = make_extractor(config) if config.video_features.extractor else None
    opened = curriculum.open_mixture(config.data_dir, stage.mixture, split, where)
    sources = with_tokens(token_fingerprints or {}, with_features_of(extractor, opened))
    tokenizer = make_tokenizer(config.model)
    drops = {source.name: (*stage.drop, *source.drop) for source in stage.mixture}
    for name in dict.fromkeys(itertools.chain(*drops.values())):
        if name not in PARTS:
            raise UserError(f"stage {stage.name!r}: drop: {name!r} is none of {', '.join(PARTS)}")
    order: dict[str, Any] = {
        "seed": [seed, zlib.crc32(stage.name.encode())],
        "repeat": repeat,
        "shuffle": shuffle,
    }

    settings = stage.augmentation
    check_augmentation(stage, f"stage {stage.name!r}")
    speech = next((source for source in sources if source.name == settings.speech_from), None)

    def examples_of(shape: Config, substitutes: Mapping[str, np.ndarray] | None = None) -> grain.MapDataset:
        def transform(source: curriculum.Source) -> Transform:
            make = MakeExample(source.name, shape, tokenizer, drops[source.name])
            is_augmented = repeat and is_augmenting(settings)
            return Augment(make, settings, source.name, speech) if is_augmented else make

        return mix_examples(sources, transform, is_strict=is_strict, substitutes=substitutes, **order)

    share, name = (process_index, process_count), f"stage {stage.name!r}"
    buckets = buckets_of(stage, config, name) if repeat else []
    if len(buckets) > 1:
        check_batch_size(stage.batch_size, process_count, name)
        batches = _in_buckets(opened, buckets, config, mix_indices(sources, **order), examples_of, share)
    else:
        examples = examples_of(config)
        if not repeat and max_clips is not None:
            examples = examples[:max_clips]
        if not repeat and len(examples) % stage.batch_size:
            fill = stage.batch_size - len(examples) % stage.batch_size
            empty = grain.MapDataset.source([unfilled_example(config)] * fill)
            examples = grain.MapDataset.concatenate([examples, empty])
        batches = NumberedBatches(take_share(examples, stage.batch_size, *share, name))
    tokenise = StemTokenizer(codecs, config.grid.num_frames, {} if token_cache is None else token_cache)
    compute_features = FeatureComputer(extractor)

    def finish(batch: HostBatch) -> HostBatch:
        batch = compute_features(tokenise(batch))
        check_tokens(batch, config)
        fields = {name: value for name, value in batch.items() if name not in _BESIDE_FIELDS}
        validate_batch(fields, with_num_frames(config, fields["frame_mask"].shape[1]))
        return batch

    held_out_tokens: TokenCache = {}  # ids of other splits may be the same

    def held_out(num_clips: int) -> HeldOutSets:
        def make(source: SourceConfig, split: str) -> BatchIterator:
            return make_batches(
                config,
                dataclasses.replace(stage, mixture=(source,), augmentation=AugmentationConfig()),
                codecs,
                split=split,
                seed=seed,
                process_index=process_index,
                process_count=process_count,
                repeat=False,
                shuffle=False,
                max_clips=num_clips,
                is_strict=False,
                token_cache=held_out_tokens,
                token_fingerprints=token_fingerprints,
            )

        return open_held_out(config.data_dir, stage.mixture, make)

    described = describe_stream(stage.name, sources, split, seed, stage.batch_size, repeat, shuffle)
    if any(source.drop for source in stage.mixture):
        described["drop"] = {name: list(drop) for name, drop in drops.items()}
    elif stage.drop:
        described["drop"] = list(stage.drop)
    described |= {"max_clips": max_clips} if max_clips is not None else {}
    if repeat and is_augmenting(settings):
        described["augmentation"] = json.loads(json.dumps(dataclasses.asdict(settings)))
    if len(buckets) > 1:
        described["buckets"] = [[bucket.num_frames, bucket.batch_size] for bucket in buckets]
    return BatchIterator(batches, finish, num_workers, described, held_out)


def _in_buckets(
    sources: Sequence[curriculum.Source],
    buckets: Sequence[Bucket],
    config: Config,
    indices: grain.MapDataset,
    examples_of: Callable[[Config, Mapping[str, np.ndarray]], grain.MapDataset],
    share: tuple[int, int],
) -> BucketBatches:
    """Batches of a mixture in buckets.

    Args:
        sources: of the mixture, without what was prepared of them, on which no batch may depend.
        buckets: ascending.
        config: of the run.
        indices: see `mix_indices`.
        examples_of: the mixture in the shape of a config, bad records replaced by some of each dataset.
        share: of this process.
    """
    numbers = [bucket_numbers(clip_lengths(source), buckets, config) for source in sources]

    def examples(number: int, bucket: Bucket) -> grain.MapDataset:
        # A replacement must fit, too. Shorter ones count, since all clips of a bucket may be bad ones.
        pairs = zip(sources, numbers, strict=True)
        substitutes = {source.name: np.flatnonzero(found <= number) for source, found in pairs}
        return examples_of(with_num_frames(config, bucket.num_frames), substitutes)

    plan = BucketPlan(_BucketOf(indices, numbers), [bucket.batch_size for bucket in buckets])
    return BucketBatches(plan, [examples(*pair) for pair in enumerate(buckets)], share)


@dataclasses.dataclass(frozen=True)
class _BucketOf:
    """Number of an example in the mixed stream -> number of its bucket; pickled for workers."""

    indices: grain.MapDataset
    numbers: Sequence[np.ndarray]

    def __call__(self, example: int) -> int:
        source, index = self.indices[example]
        return int(self.numbers[source][index])


def make_codec_batches(
    config: Config,
    stream: Stream,
    *,
    mixture: Sequence[SourceConfig],
    seed: int,
    batch_size: int,
    crop_frames: int,
    split: str = "train",
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
    target: tuple[int, int] | None = None,
    part: str = "codec",
) -> BatchIterator:
    """Random crops of one stream's stems, endlessly, for the training of its codec or waveform decoder.

    Args:
        config: for the stream's codec and `data_dir`.
        stream: "speech" or "background".
        mixture: datasets and their weights.
        seed: of the order and of the crops.
        batch_size: of all processes together.
        crop_frames: length of a crop, frames of the codec.
        split: which split of every dataset in the mixture.
        process_index: this process.
        process_count: how many processes share a global batch.
        num_workers: decoding processes; 0 decodes in threads.
        target: sample rate and number of samples of "target_waveform"; None: none.
        part: of `streams.<stream>` whose `training.mixture` this is, for messages.

    Returns:
        An iterator of {"waveform": float32[B, crop_frames * samples_per_frame] at the codec's sample rate,
        "phonemes": int32[B, crop_frames * 2] (-1: unknown), "acoustics": float32[B, 2] (NaN: unknown),
        "example_ids": list[str]}; of speech also the clip's reference recording, "voice": float32[B, R *
        samples_per_frame] and "voice_mask": bool[B, R]; with `target` also "target_waveform", float32[B, S],
        the same time at another sample rate.

    Raises:
        UserError: as `make_batches`.
    """
    where = f"streams.{stream}.{part}.training.mixture"
    sources = curriculum.open_mixture(config.data_dir, mixture, split, where)
    spec = codec_spec(config, stream)
    voice_s = config.grid.num_voice_frames / config.grid.frame_rate
    examples = mix_examples(
        sources,
        lambda source: CropStem(source.name, stream, spec, crop_frames, voice_s, target=target, where=where),
        seed=[seed, zlib.crc32(where.encode())],
        repeat=True,
        shuffle=True,
    )

    def held_out(num_clips: int) -> HeldOutSets:
        def make(source: SourceConfig, split: str) -> BatchIterator:
            crops = make_codec_batches(
                config,
                stream,
                mixture=(source,),
                seed=seed,
                batch_size=batch_size,
                crop_frames=crop_frames,
                split=split,
                process_index=process_index,
                process_count=process_count,
                target=target,
                part=part,
            )
            return crops.head(math.ceil(num_clips / batch_size))

        return open_held_out(config.data_dir, mixture, make)

    batches = NumberedBatches(take_share(examples, batch_size, process_index, process_count, where))
    described = describe_stream(where, sources, split, seed, batch_size, True, True)
    return BatchIterator(batches, lambda batch: batch, num_workers, described, held_out)
