"""Batches for training: datasets, mixed, shuffled, decoded ahead of time, with an exact position.

The stream of global batches is a function of (config, stage, seed) and nothing else: not of the number of
threads, workers or processes. Batch k of a stream is made from indices alone, so the position is the number
of batches consumed, and a run can go on from it on another number of processes. What is decoded ahead is no
part of the position.
"""

import dataclasses
import itertools
import math
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grain
import numpy as np
from absl import flags

from dualdub_jax.codecs.registry import codec_spec
from dualdub_jax.config import Config, SourceConfig, StageConfig
from dualdub_jax.data_pipeline import mixture as curriculum
from dualdub_jax.data_pipeline.collate import collate
from dualdub_jax.data_pipeline.example import MakeExample, unfilled_example
from dualdub_jax.data_pipeline.held_out import open_held_out
from dualdub_jax.data_pipeline.prepared import with_features_of, with_tokens
from dualdub_jax.data_pipeline.replacement import ReplaceBad, Transform
from dualdub_jax.data_pipeline.stem_crops import CropStem
from dualdub_jax.data_pipeline.stem_tokens import StemTokenizer, TokenCache
from dualdub_jax.data_pipeline.video_features import FeatureComputer
from dualdub_jax.encoders.extraction import make_extractor
from dualdub_jax.errors import UserError
from dualdub_jax.models.batch import check_tokens, validate_batch
from dualdub_jax.text.tokenizer import make_tokenizer
from dualdub_jax.training.bad_records import BadRecord
from dualdub_jax.training.held_out import HeldOutSets
from dualdub_jax.types import PARTS, Stream

if TYPE_CHECKING:
    from dualdub_jax.codecs.base import Codec

HostBatch = dict[str, Any]
# Of a batch from grain, beside the fields that steps read.
_BESIDE_FIELDS = ("example_ids", "bad_records")

# Batches ready for the train step, and batches in the making for each decoding thread.
_NUM_READY_BATCHES = 2
_MAX_THREADS = 8


class BatchIterator(grain.DatasetIterator):
    """Iterates over batches; what `make_batches` and `make_codec_batches` return.

    It is a grain iterator, so `grain.checkpoint.CheckpointSave(iterator)` saves its position. `close` it:
    it holds threads, and processes with `num_workers`. `bad_records` lists the records that others replace in
    the last batch.

    Args:
        batches: one element a batch, of this process.
        finish: applied to each batch in the main process, ahead of time in a thread.
        num_workers: processes that decode; 0 decodes in threads of this one.
        stream: what the batches depend on; a position is only good for the same stream.
        held_out: opens the held-out sets; None: there are none.
    """

    def __init__(
        self,
        batches: grain.MapDataset,
        finish: Callable[[HostBatch], HostBatch],
        num_workers: int,
        stream: dict[str, Any],
        held_out: Callable[[int], HeldOutSets] | None = None,
    ) -> None:
        super().__init__()
        self._batches = batches
        self._finish = finish
        self._num_workers = num_workers
        self._stream = stream
        self._held_out = held_out
        self._next_batch = 0
        # Those that others in the last batch replace.
        self.bad_records: list[BadRecord] = []
        self._iterator: grain.DatasetIterator | None = None

    def __next__(self) -> HostBatch:
        if self._closed:
            raise ValueError("this batch iterator is closed")
        if self._iterator is None:
            self._iterator = self._open()
        batch = next(self._iterator)
        self._next_batch += 1
        self.bad_records = batch.pop("bad_records")
        return batch

    def _open(self) -> grain.DatasetIterator:
        batches = self._batches[self._next_batch :]
        if self._num_workers:
            # Grain's workers read absl flags; a program that does not use absl has never parsed them.
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()
            dataset = batches.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
            dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=self._num_workers))
        else:
            num_threads = min(os.cpu_count() or 1, _MAX_THREADS)
            dataset = batches.to_iter_dataset(
                grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)
            )
        dataset = dataset.map(self._finish)
        ahead = grain.experimental.ThreadPrefetchIterDataset(dataset, prefetch_buffer_size=_NUM_READY_BATCHES)
        return iter(ahead)

    def get_state(self) -> dict[str, Any]:
        """The position: a JSON-able dictionary, the same on every process."""
        return {"next_batch": self._next_batch, "stream": self._stream}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to a position, so that the next batch is exactly the one that would have come.

        Raises:
            UserError: the position is of another stream (the text names the first difference).
        """
        for key in {**self._stream, **state["stream"]}:
            value, saved = self._stream.get(key), state["stream"].get(key)
            if saved != value and not (key == "fingerprints" and saved is None):  # of an older version
                raise UserError(
                    f"data position: was saved with {key}={saved}, but the run has {key}={value}; "
                    "resume with the same settings and data, or use another workdir"
                )
        self._stop()
        self._next_batch = int(state["next_batch"])

    def head(self, num_batches: int) -> "BatchIterator":
        """The first batches alone, decoded in threads."""
        stream = self._stream | {"num_batches": num_batches}
        return BatchIterator(self._batches[:num_batches], self._finish, 0, stream)

    def held_out(self, num_clips: int) -> HeldOutSets:
        """Opens the same batches of held-out splits, dataset by dataset.

        Args:
            num_clips: of each dataset, rounded up to whole batches where batches are crops.

        Raises:
            UserError: a split that the mixture names does not exist.
        """
        return HeldOutSets([], []) if self._held_out is None else self._held_out(num_clips)

    def start_prefetch(self) -> None:
        """Starts decoding before the first batch is requested."""
        if self._iterator is None:
            self._iterator = self._open()
        self._iterator.start_prefetch()

    def close(self) -> None:
        self._stop()
        self._closed = True

    def _stop(self) -> None:
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None


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
        stage: its mixture, its `batch_size` of all processes together, and what it drops.
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
    sources = with_features_of(
        extractor, curriculum.open_mixture(config.data_dir, stage.mixture, split, where)
    )
    sources = with_tokens(token_fingerprints or {}, sources)
    tokenizer = make_tokenizer(config.model)
    drops = {source.name: (*stage.drop, *source.drop) for source in stage.mixture}
    for name in dict.fromkeys(itertools.chain(*drops.values())):
        if name not in PARTS:
            raise UserError(f"stage {stage.name!r}: drop: {name!r} is none of {', '.join(PARTS)}")
    examples = mix_examples(
        sources,
        lambda source: MakeExample(source.name, config, tokenizer, drops[source.name]),
        seed=[seed, zlib.crc32(stage.name.encode())],
        repeat=repeat,
        shuffle=shuffle,
        is_strict=is_strict,
    )
    if not repeat and max_clips is not None:
        examples = examples[:max_clips]
    if not repeat and len(examples) % stage.batch_size:
        fill = stage.batch_size - len(examples) % stage.batch_size
        empty = grain.MapDataset.source([unfilled_example(config)] * fill)
        examples = grain.MapDataset.concatenate([examples, empty])
    tokenise = StemTokenizer(codecs, config.grid.num_frames, {} if token_cache is None else token_cache)

    compute_features = FeatureComputer(extractor)

    def finish(batch: HostBatch) -> HostBatch:
        batch = compute_features(tokenise(batch))
        check_tokens(batch, config)
        validate_batch({name: value for name, value in batch.items() if name not in _BESIDE_FIELDS}, config)
        return batch

    held_out_tokens: TokenCache = {}  # ids of other splits may be the same

    def held_out(num_clips: int) -> HeldOutSets:
        def make(source: SourceConfig, split: str) -> BatchIterator:
            return make_batches(
                config,
                dataclasses.replace(stage, mixture=(source,)),
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

    batches = take_share(examples, stage.batch_size, process_index, process_count, f"stage {stage.name!r}")
    described = describe_stream(stage.name, sources, split, seed, stage.batch_size, repeat, shuffle)
    if any(source.drop for source in stage.mixture):
        described["drop"] = {name: list(drop) for name, drop in drops.items()}
    elif stage.drop:
        described["drop"] = list(stage.drop)
    described |= {"max_clips": max_clips} if max_clips is not None else {}
    return BatchIterator(batches, finish, num_workers, described, held_out)


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

    batches = take_share(examples, batch_size, process_index, process_count, where)
    described = describe_stream(where, sources, split, seed, batch_size, True, True)
    return BatchIterator(batches, lambda batch: batch, num_workers, described, held_out)


def mix_examples(
    sources: Sequence[curriculum.Source],
    transform: Callable[[curriculum.Source], Transform],
    *,
    seed: Sequence[int],
    repeat: bool,
    shuffle: bool,
    is_strict: bool | None = None,
) -> grain.MapDataset:
    """Examples of several datasets, each shuffled by itself and transformed, mixed by weight.

    A bad record is replaced (`replacement.ReplaceBad`), or an error if `is_strict`; None: in a single pass.
    """
    is_strict = not repeat if is_strict is None else is_strict
    datasets = []
    for source in sources:
        # Hashed, not added: grain shuffles epoch e with seed + e, so that seeds 0 and 1 would share orders.
        mixed = np.random.SeedSequence([*seed, zlib.crc32(source.name.encode())])
        dataset = grain.MapDataset.range(len(source.records)).seed(int(mixed.generate_state(1)[0]))
        if shuffle:
            dataset = dataset.shuffle()
        if repeat:
            dataset = dataset.repeat()
        usable = ReplaceBad(source.name, source.records, transform(source), is_strict=is_strict)
        datasets.append(dataset.random_map(usable))
    return grain.MapDataset.mix(datasets, weights=[source.weight for source in sources])


def take_share(
    examples: grain.MapDataset, batch_size: int, process_index: int, process_count: int, where: str
) -> grain.MapDataset:
    """Batches of this process. Mixing before sharding makes the global batch whole on any process count."""
    if batch_size < 1 or batch_size % process_count:
        raise UserError(
            f"{where}: batch_size {batch_size} is not a positive multiple of the {process_count} processes"
        )
    local = examples.batch(batch_size // process_count, drop_remainder=True, batch_fn=collate)
    return local[process_index::process_count]


def describe_stream(
    name: str,
    sources: Sequence[curriculum.Source],
    split: str,
    seed: int,
    batch_size: int,
    repeat: bool,
    shuffle: bool,
) -> dict[str, Any]:
    """What a stream of batches depends on, as JSON gives it back."""
    return {
        "name": name,
        "seed": seed,
        "batch_size": batch_size,
        "split": split,
        "repeat": repeat,
        "shuffle": shuffle,
        "mixture": [[source.name, source.weight, len(source.records)] for source in sources],
        "fingerprints": {source.name: source.fingerprint for source in sources},
    }
