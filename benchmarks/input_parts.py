"""The input pipeline by part, with fresh, cached and prepared tokens, and beside a train step.

See `input_pipeline.py`.
"""

import argparse
import contextlib
import dataclasses
import pathlib
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.checkpoints.converted import write_converted
from dualdub_jax.codecs.base import Codec
from dualdub_jax.codecs.registry import codec_class, codec_config, make_codec
from dualdub_jax.config import Config, SourceConfig, StageConfig
from dualdub_jax.data_pipeline import loader, mixture
from dualdub_jax.data_pipeline.batch_iterator import BatchIterator
from dualdub_jax.data_pipeline.collate import collate
from dualdub_jax.data_pipeline.derivations import feature_derivation, token_derivation
from dualdub_jax.data_pipeline.example import MakeExample
from dualdub_jax.data_pipeline.frame_times import num_frames_of
from dualdub_jax.data_pipeline.prepare import prepare
from dualdub_jax.data_pipeline.record import Record
from dualdub_jax.data_pipeline.reference_voice import decode_voice
from dualdub_jax.data_pipeline.stem_tokens import StemTokenizer
from dualdub_jax.encoders.clip.tower import ClipConfig, ClipTower
from dualdub_jax.encoders.extraction import make_extractor
from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.media.record_video import decode_frames
from dualdub_jax.text.tokenizer import make_tokenizer
from dualdub_jax.training.kept_pages import keep_pages
from dualdub_jax.types import STREAMS, Stream


def measure_parts(data_dir: str, args: argparse.Namespace) -> dict[str, float]:
    """All figures by name: `cpu_ms_…` per clip, `clips_per_s_…`, `ms_…` per step."""
    config = Config(data_dir=data_dir)
    grid = config.grid
    codecs = {
        "speech": _random_codec(config, "speech"),
        "background": _random_codec(config, "background"),
    }
    records = mixture.open_dataset(config.data_dir, args.source, "train")
    indices = [i % len(records) for i in range(64)]
    clips = [records[i] for i in indices]
    make_example = MakeExample(args.source, config, make_tokenizer(config.model))
    examples = [make_example.example(clip, np.random.default_rng(0)) for clip in clips]
    batches = [collate(examples[i : i + args.batch_size]) for i in range(0, 64, args.batch_size)]
    tokenise = StemTokenizer(codecs, grid.num_frames, cache=None)
    tokenise(batches[0])  # compile

    frame_spec = FrameSpec(grid.frame_rate, grid.frame_size)

    def num_frames(clip: Record) -> int:
        return num_frames_of(float(clip["duration_s"]), grid.frame_rate)

    figures = {
        "cpu_ms_read": _ms(lambda: [records[i] for i in indices]),
        "cpu_ms_decode_video": _ms(
            lambda: [
                decode_frames(clip["video"], frame_spec, 0, min(num_frames(clip), grid.num_frames))
                for clip in clips
                if clip["video"]
            ]
        ),
        "cpu_ms_decode_voice": _ms(
            lambda: [
                decode_voice(
                    clip["voice"], "clip", grid.sample_rate_hz, grid.samples_per_frame, grid.num_voice_frames
                )
                for clip in clips
                if clip["voice"]
            ]
        ),
        "cpu_ms_make_example": _ms(
            lambda: [make_example.example(clip, np.random.default_rng(0)) for clip in clips]
        ),
        "cpu_ms_collate": _ms(
            lambda: [collate(examples[i : i + args.batch_size]) for i in range(0, 64, args.batch_size)]
        ),
        "cpu_ms_tokenise_both_stems": _ms(lambda: [tokenise(batch) for batch in batches]),
    }

    stage = StageConfig(name="benchmark", mixture=(SourceConfig(args.source),), batch_size=args.batch_size)

    def open_batches(cache: dict | None, num_workers: int = 0) -> BatchIterator:
        return loader.make_batches(config, stage, codecs, seed=0, token_cache=cache, num_workers=num_workers)

    cache: dict = {}
    fresh = min(args.num_batches, max(len(records) // args.batch_size, 1))  # each clip once
    figures["clips_per_s_fresh_tokens"] = _clips_per_s(open_batches(cache), fresh, args.batch_size)
    with contextlib.closing(open_batches(cache)) as iterator:  # the rest of the epoch
        for _ in range(-(-len(records) // args.batch_size)):
            next(iterator)
    figures["clips_per_s_cached_tokens"] = _clips_per_s(
        open_batches(cache), args.num_batches, args.batch_size
    )
    with _prepared(config, args.source, codecs) as fingerprints:
        prepared = loader.make_batches(config, stage, codecs, seed=0, token_fingerprints=fingerprints)
        figures["clips_per_s_prepared_tokens"] = _clips_per_s(prepared, args.num_batches, args.batch_size)
    figures["ratio_prepared_to_fresh"] = (
        figures["clips_per_s_prepared_tokens"] / figures["clips_per_s_fresh_tokens"]
    )
    figures["clips_per_s_cached_tokens_1_worker"] = _clips_per_s(
        open_batches(cache, num_workers=1), args.num_batches, args.batch_size
    )
    figures |= _beside_a_step(open_batches(cache), args.num_batches, args.step_ms)
    return figures


@contextlib.contextmanager
def _prepared(config: Config, source: str, codecs: Mapping[Stream, Codec]) -> Iterator[dict[Stream, str]]:
    """Stores the tokens of a dataset beside it, as long as it is open; gives their fingerprints."""
    folder = mixture.find_dataset(config.data_dir, source).folder
    stores = []
    try:
        for stream, codec in codecs.items():
            derivation = token_derivation(stream, codec, "benchmark", config.grid.num_frames)
            stores.append(prepare(folder, *derivation))
        yield dict.fromkeys(codecs, "benchmark")
    finally:
        for store in stores:  # or training would refuse them
            shutil.rmtree(store.folder.parent if _is_alone(store.folder) else store.folder)


def _is_alone(folder: pathlib.Path) -> bool:
    return len(list(folder.parent.iterdir())) == 1


def compare_with_sidecars(data_dir: str) -> dict[str, float]:
    """Clips a second of a model that reads features: features and tokens computed, and read.

    Args:
        data_dir: of 12 clips, to which sidecars are added.
    """
    batch_size, source = 4, "puppet_stage/soundtrack"
    tower = ClipConfig()
    images = jnp.zeros((1, tower.image_size, tower.image_size, 3), jnp.uint8)
    params = jax.tree.map(np.asarray, nn.unbox(ClipTower(tower).init(jax.random.key(0), images)["params"]))
    random = {"converted_from": "random values", "sha256": ""}
    weights = pathlib.Path(data_dir, "clip")
    write_converted(weights, "clip", dataclasses.asdict(tower), params, random)
    config = Config(data_dir=data_dir)
    video = dataclasses.replace(config.model.video, kind="features", feature_dim=tower.embedding_dim)
    extractor = f"clip(path='{weights}', frame_rate_hz='25/3')"
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, video=video),
        video_features=dataclasses.replace(config.video_features, extractor=extractor),
    )
    codecs = {stream: _random_codec(config, stream) for stream in STREAMS}
    stage = StageConfig(name="benchmark", mixture=(SourceConfig(source),), batch_size=batch_size)

    def clips_per_s(num_batches: int, fingerprints: Mapping[Stream, str] | None = None) -> float:
        batches = loader.make_batches(config, stage, codecs, seed=0, token_fingerprints=fingerprints)
        return _clips_per_s(batches, num_batches, batch_size)

    raw = clips_per_s(2)  # with the first one, each clip once
    prepare(mixture.find_dataset(data_dir, source).folder, *feature_derivation(make_extractor(config)))
    with _prepared(config, source, codecs) as fingerprints:
        prepared = clips_per_s(50, fingerprints)
    return {
        "clips_per_s_raw_features_and_tokens": raw,
        "clips_per_s_prepared_features_and_tokens": prepared,
        "ratio_prepared_to_raw": prepared / raw,
    }


def clips_per_s_of_step() -> float:
    """Of the train step of the puppet model alone, on all cores; freed memory is kept, as in training."""
    import train_step

    keep_pages()
    path, _, batch_size = train_step.SIZES["puppet"]
    train_step.SIZES["puppet"] = (path, (), batch_size)  # with the parts that its twin lacks
    step, state, batch = train_step.compiled_step("puppet", batch_size, False)
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        state, metrics = step(state, batch, jax.random.key(1))
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - start)
    return batch_size / statistics.median(seconds[2:])


def _random_codec(config: Config, stream: Stream) -> Codec:
    """An untrained codec, as fast as a trained one."""
    settings = codec_config(config, stream)
    return make_codec(config, stream, codec_class(config, stream).init(settings, jax.random.key(0)))


def _ms(run: Callable[[], list]) -> float:
    """CPU milliseconds per item over all threads; the better of two runs."""
    times = []
    for _ in range(2):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return 1000 * min(times) / 64


def _clips_per_s(iterator: BatchIterator, num_batches: int, batch_size: int) -> float:
    """Clips per second without the first batch, which includes the start of threads or processes."""
    with contextlib.closing(iterator):
        next(iterator)
        start = time.perf_counter()
        for _ in range(num_batches):
            next(iterator)
        return num_batches * batch_size / (time.perf_counter() - start)


def _beside_a_step(iterator: BatchIterator, num_steps: int, step_ms: float) -> dict[str, float]:
    """Waiting time of steps for batches, and the slowdown of steps by concurrent decoding."""
    side = 1024
    matrix = jnp.ones((side, side)) / side

    @jax.jit
    def multiply(x: jax.Array, count: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, count, lambda _, y: y @ matrix, x)

    def seconds(count: int) -> float:
        start = time.perf_counter()
        multiply(matrix, jnp.int32(count)).block_until_ready()
        return time.perf_counter() - start

    seconds(1)
    count = max(1, round(20 * step_ms / 1000 / seconds(20)))
    alone = [seconds(count) for _ in range(5)]
    waits, steps = [], []
    with contextlib.closing(iterator):
        for _ in range(2):  # warm-up; in training, the first step compiles at this point
            next(iterator)
            seconds(count)
        for _ in range(num_steps):
            start = time.perf_counter()
            next(iterator)
            waits.append(time.perf_counter() - start)
            steps.append(seconds(count))
    return {
        "ms_step_alone": 1000 * float(np.median(alone)),
        "ms_step_beside_decoding": 1000 * float(np.median(steps)),
        "ms_wait_per_step_median": 1000 * float(np.median(waits)),
        "ms_wait_per_step_worst": 1000 * max(waits),
    }
