"""Throughput of the input pipeline, in total and by part, and the time a train step waits for it.

    python benchmarks/input_pipeline.py                       # renders 64 clips of Puppet Stage first
    python benchmarks/input_pipeline.py --data-dir data       # on a dataset that exists

Parts are measured in CPU milliseconds per clip, which are robust to other load. The whole pipeline runs as in
training: threads decode, and tokens are computed on the fly ("fresh", the first epoch) or cached ("cached").
The train step is simulated by matrix products on all cores that take about as long as the default model's
step.
"""

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.codecs.base import Codec
from dualdub_jax.codecs.registry import codec_class, codec_config, make_codec
from dualdub_jax.config import Config, SourceConfig, StageConfig
from dualdub_jax.data_pipeline import loader, transforms
from dualdub_jax.data_pipeline import mixture as curriculum
from dualdub_jax.data_pipeline.build import build
from dualdub_jax.data_pipeline.record import Record, decode_voice
from dualdub_jax.data_pipeline.stem_tokens import StemTokenizer
from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.media.record_video import decode_frames
from dualdub_jax.text.tokenizer import make_tokenizer
from dualdub_jax.types import Stream


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-dir", help="folder of built datasets (default: render a few clips)")
    parser.add_argument("--source", default="puppet_stage/soundtrack")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--num-batches", type=int, default=16, help="per measurement of the whole pipeline")
    parser.add_argument("--step-ms", type=float, default=400.0, help="duration of the simulated train step")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        data_dir = args.data_dir or _render(stack.enter_context(tempfile.TemporaryDirectory()))
        figures = measure(Config(data_dir=data_dir), args)
    for name, value in figures.items():
        print(f"{name:36s} {value:10.2f}")
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


def measure(config: Config, args: argparse.Namespace) -> dict[str, float]:
    """All figures by name: `cpu_ms_…` per clip, `clips_per_s_…`, `ms_…` per step."""
    grid = config.grid
    codecs = {
        "speech": _random_codec(config, "speech"),
        "background": _random_codec(config, "background"),
    }
    records = curriculum.open_dataset(config.data_dir, args.source, "train")
    indices = [i % len(records) for i in range(64)]
    clips = [records[i] for i in indices]
    make_example = transforms.MakeExample(args.source, config, make_tokenizer(config.model))
    examples = [make_example.example(clip, np.random.default_rng(0)) for clip in clips]
    batches = [transforms.collate(examples[i : i + args.batch_size]) for i in range(0, 64, args.batch_size)]
    tokenise = StemTokenizer(codecs, grid.num_frames, cache=None)
    tokenise(batches[0])  # compile

    frame_spec = FrameSpec(grid.frame_rate, grid.frame_size)

    def num_frames(clip: Record) -> int:
        return transforms.num_frames_of(float(clip["duration_s"]), grid.frame_rate)

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
                decode_voice(clip["voice"], "clip", grid.sample_rate_hz) for clip in clips if clip["voice"]
            ]
        ),
        "cpu_ms_make_example": _ms(
            lambda: [make_example.example(clip, np.random.default_rng(0)) for clip in clips]
        ),
        "cpu_ms_collate": _ms(
            lambda: [
                transforms.collate(examples[i : i + args.batch_size]) for i in range(0, 64, args.batch_size)
            ]
        ),
        "cpu_ms_tokenise_both_stems": _ms(lambda: [tokenise(batch) for batch in batches]),
    }

    stage = StageConfig(name="benchmark", mixture=(SourceConfig(args.source),), batch_size=args.batch_size)

    def open_batches(cache: dict | None, num_workers: int = 0) -> loader.BatchIterator:
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
    figures["clips_per_s_cached_tokens_1_worker"] = _clips_per_s(
        open_batches(cache, num_workers=1), args.num_batches, args.batch_size
    )
    figures |= _beside_a_step(open_batches(cache), args.num_batches, args.step_ms)
    return figures


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


def _clips_per_s(iterator: loader.BatchIterator, num_batches: int, batch_size: int) -> float:
    """Clips per second without the first batch, which includes the start of threads or processes."""
    with contextlib.closing(iterator):
        next(iterator)
        start = time.perf_counter()
        for _ in range(num_batches):
            next(iterator)
        return num_batches * batch_size / (time.perf_counter() - start)


def _beside_a_step(iterator: loader.BatchIterator, num_steps: int, step_ms: float) -> dict[str, float]:
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


def _render(folder: str) -> str:
    print("rendering 64 clips of Puppet Stage (tone voices, which require no package)", flush=True)
    sizes = {"train": 64, "validation": 0, "test_seen": 0, "test_unseen": 0}
    build("puppet_stage/soundtrack", folder, num_processes=1, voice_bank="tone", num_clips=sizes)
    return folder


if __name__ == "__main__":
    main()
