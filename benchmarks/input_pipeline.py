"""Throughput of the input pipeline, by part and beside a torch DataLoader; how long train steps wait for it.

    python benchmarks/input_pipeline.py                       # renders 64 clips of Puppet Stage first
    python benchmarks/input_pipeline.py --data-dir data       # on a dataset that exists
    python benchmarks/input_pipeline.py --only torch          # the comparison alone
    python benchmarks/input_pipeline.py --only sidecars       # features and tokens, computed or read

Parts are measured in CPU milliseconds per clip, which are robust to other load. The whole pipeline runs as in
training: threads decode, and tokens are computed on the fly ("fresh", the first epoch) or cached ("cached").
The train step is simulated by matrix products on all cores that take about as long as the default model's
step. "prepared" reads tokens from sidecars instead of computing them.

"sidecars" is for a model that reads features: a frozen CLIP ViT-B/32 of random weights at 25/3 Hz and the
tokens of both stems, of 12 rendered clips. "raw" computes both in every batch, "prepared" reads them.

The comparison gives a torch DataLoader the same clips as files, and batches of one size: torch in processes,
ours in threads (the default of training) and in as many processes. "torch" has our function for each clip
(decode frames and both stems, resample), which compares the loaders alone; "torch_plain" has the usual lines
of PyAV, torch and soxr for the same work, which decode whole clips. Of each: clips a second, CPU time of all
its processes a clip, their peak memory (shared pages once, above that before), and the time to the first
batch, which includes the start of processes; rates do not. Without torch and psutil it is left out. `ratio_…`
are ours over torch's, above 1 = ours better; those of CPU time hardly depend on other load. The last line is
JSON.
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import io
import itertools
import json
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import av
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import soundfile
import soxr

from dualdub_jax.checkpoints.converted import write_converted
from dualdub_jax.codecs.base import Codec
from dualdub_jax.codecs.registry import codec_class, codec_config, make_codec
from dualdub_jax.config import Config, SourceConfig, StageConfig
from dualdub_jax.data_pipeline import loader
from dualdub_jax.data_pipeline import mixture as curriculum
from dualdub_jax.data_pipeline.batch_iterator import BatchIterator, NumberedBatches
from dualdub_jax.data_pipeline.build import build
from dualdub_jax.data_pipeline.collate import collate
from dualdub_jax.data_pipeline.derivations import feature_derivation, token_derivation
from dualdub_jax.data_pipeline.example import MakeExample
from dualdub_jax.data_pipeline.frame_times import num_frames_of
from dualdub_jax.data_pipeline.mixed_examples import mix_examples, take_share
from dualdub_jax.data_pipeline.prepare import prepare
from dualdub_jax.data_pipeline.record import Record, decode_stem
from dualdub_jax.data_pipeline.reference_voice import decode_voice
from dualdub_jax.data_pipeline.stem_tokens import StemTokenizer
from dualdub_jax.encoders.clip.tower import ClipConfig, ClipTower
from dualdub_jax.encoders.extraction import make_extractor
from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.media.record_video import decode_frames
from dualdub_jax.text.tokenizer import make_tokenizer
from dualdub_jax.types import STREAMS, Stream

_RATE_HZ = 24_000  # stems are resampled to it, as a codec asks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-dir", help="folder of built datasets (default: render a few clips)")
    parser.add_argument("--source", default="puppet_stage/soundtrack")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--num-batches", type=int, default=16, help="per measurement of the whole pipeline")
    parser.add_argument("--step-ms", type=float, default=400.0, help="duration of the simulated train step")
    parser.add_argument("--num-workers", type=int, default=2, help="of both loaders in the comparison")
    parser.add_argument("--only", choices=("parts", "torch", "sidecars"), help="default: all")
    args = parser.parse_args()
    figures: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        data_dir = args.data_dir
        if data_dir is None and args.only != "sidecars":
            data_dir = _render(stack.enter_context(tempfile.TemporaryDirectory()), 64)
        config = Config(data_dir=data_dir or "")
        if args.only in (None, "parts"):
            figures |= measure(config, args)
        if args.only in (None, "torch"):
            figures |= compare_with_torch(config, args)
        if args.only in (None, "sidecars"):
            figures |= compare_with_sidecars(pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory())))
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
        figures["clips_per_s_prepared_tokens"] = _clips_per_s(prepared, fresh, args.batch_size)
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
    folder = curriculum.find_dataset(config.data_dir, source).folder
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


def compare_with_sidecars(folder: pathlib.Path) -> dict[str, float]:
    """Clips a second of a model that reads features: features and tokens computed, and read.

    Args:
        folder: for clips, weights and sidecars.
    """
    batch_size, source = 4, "puppet_stage/soundtrack"
    data_dir = _render(str(folder / "data"), 3 * batch_size)
    tower = ClipConfig()
    images = jnp.zeros((1, tower.image_size, tower.image_size, 3), jnp.uint8)
    params = jax.tree.map(np.asarray, nn.unbox(ClipTower(tower).init(jax.random.key(0), images)["params"]))
    random = {"converted_from": "random values", "sha256": ""}
    write_converted(folder / "clip", "clip", dataclasses.asdict(tower), params, random)
    config = Config(data_dir=data_dir)
    video = dataclasses.replace(config.model.video, kind="features", feature_dim=tower.embedding_dim)
    extractor = f"clip(path='{folder / 'clip'}', frame_rate_hz='25/3')"
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
    prepare(curriculum.find_dataset(data_dir, source).folder, *feature_derivation(make_extractor(config)))
    with _prepared(config, source, codecs) as fingerprints:
        prepared = clips_per_s(50, fingerprints)
    return {
        "clips_per_s_raw_features_and_tokens": raw,
        "clips_per_s_prepared_features_and_tokens": prepared,
        "ratio_prepared_to_raw": prepared / raw,
    }


class _Decode:
    """Record or loose files to what a batch holds: the work of both loaders. A `replacement.Transform`."""

    def __init__(self, config: Config) -> None:
        self._grid = config.grid

    def begin(self, rng: np.random.Generator) -> Callable[[Record], dict[str, Any]]:
        """See `replacement.Transform`."""
        return self

    def __call__(self, clip: Record) -> dict[str, Any]:
        grid = self._grid
        length_s = float(clip["duration_s"])
        num_frames = min(num_frames_of(length_s, grid.frame_rate), grid.num_frames)
        size = grid.frame_size
        made: dict[str, Any] = {"video": np.zeros((grid.num_frames, size, size, 3), np.uint8)}
        spec = FrameSpec(grid.frame_rate, size)
        made["video"][:num_frames] = decode_frames(clip["video"], spec, 0, num_frames)
        for stream in STREAMS:
            samples = decode_stem(clip[stream], "clip", length_s, _RATE_HZ)
            crop = samples[: int(grid.num_frames / grid.frame_rate * _RATE_HZ)]
            made[stream] = np.pad(crop, (0, int(grid.num_frames / grid.frame_rate * _RATE_HZ) - len(crop)))
        return made | {"example_ids": ""}


class _PlainDecode:
    """As `_Decode`, in the lines that a torch data set usually has: whole clips, of constant rate."""

    def __init__(self, config: Config) -> None:
        self._grid = config.grid

    def __call__(self, clip: Record) -> dict[str, Any]:
        import torch

        grid = self._grid
        with av.open(io.BytesIO(clip["video"])) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        pictures = torch.from_numpy(np.stack(frames[: grid.num_frames])).permute(0, 3, 1, 2)
        size = (grid.frame_size, grid.frame_size)
        if pictures.shape[2:] != size:
            pictures = torch.nn.functional.interpolate(pictures.float(), size, mode="area").to(torch.uint8)
        video = torch.zeros((grid.num_frames, 3, *size), dtype=torch.uint8)
        video[: len(pictures)] = pictures
        made: dict[str, Any] = {"video": video, "example_ids": ""}
        num_samples = int(grid.num_frames / grid.frame_rate * _RATE_HZ)
        for stream in STREAMS:
            samples, rate_hz = soundfile.read(io.BytesIO(clip[stream]), dtype="float32")
            crop = torch.from_numpy(soxr.resample(samples, rate_hz, _RATE_HZ)[:num_samples])
            made[stream] = torch.nn.functional.pad(crop, (0, num_samples - len(crop)))
        return made


class _Files:
    """Clips as loose files, a torch dataset."""

    def __init__(
        self, folder: pathlib.Path, records: list[Record], decode: Callable[[Record], dict[str, Any]]
    ) -> None:
        self._folder, self._decode = folder, decode
        self._lengths_s = [float(clip["duration_s"]) for clip in records]
        for number, clip in enumerate(records):
            for field in ("video", *STREAMS):
                (folder / f"{number}.{field}").write_bytes(clip[field])

    def __len__(self) -> int:
        return len(self._lengths_s)

    def __getitem__(self, number: int) -> dict[str, Any]:
        files = {name: (self._folder / f"{number}.{name}").read_bytes() for name in ("video", *STREAMS)}
        made = self._decode(files | {"duration_s": self._lengths_s[number]})
        del made["example_ids"]
        return made


def compare_with_torch(config: Config, args: argparse.Namespace) -> dict[str, float]:
    """Both loaders, one after the other: clips a second, and time to the first batch."""
    if missing := [name for name in ("torch", "psutil") if importlib.util.find_spec(name) is None]:
        print(f"{missing[0]} is not installed: the comparison is left out")
        return {}
    import torch.utils.data

    (source,) = curriculum.open_mixture(config.data_dir, (SourceConfig(args.source),), "train", "benchmark")
    size, workers = args.batch_size, args.num_workers

    def ours(num_processes: int) -> Iterator[Any]:
        mixed = mix_examples([source], lambda _: _Decode(config), seed=[0], repeat=True, shuffle=True)
        batches = take_share(mixed, size, 0, 1, "benchmark")
        made = BatchIterator(NumberedBatches(batches), lambda batch: batch, num_processes, {})
        with contextlib.closing(made):
            yield from made

    def theirs(decode: Callable[[Record], dict[str, Any]]) -> Iterator[Any]:
        files = _Files(folder, list(source.records), decode)
        batches = torch.utils.data.DataLoader(
            files, size, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=True
        )
        while True:
            yield from batches

    figures = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        loads = {
            "threads": ours(0),
            "processes": ours(workers),
            "torch": theirs(_Decode(config)),
            "torch_plain": theirs(_PlainDecode(config)),
        }
        for label, batches in loads.items():
            figures |= {f"{key}_{label}": value for key, value in _measured(batches, args).items()}
    for label, other in itertools.product(("threads", "processes"), ("torch", "torch_plain")):
        faster = figures[f"clips_per_s_{label}"] / figures[f"clips_per_s_{other}"]
        lighter = figures[f"cpu_ms_per_clip_{other}"] / figures[f"cpu_ms_per_clip_{label}"]
        figures |= {f"ratio_clips_per_s_{label}_to_{other}": faster, f"ratio_cpu_{label}_to_{other}": lighter}
    return figures


def _measured(batches: Iterator[Any], args: argparse.Namespace) -> dict[str, float]:
    """Of a loader that has not started."""
    before = _peak_mib([])
    start = time.perf_counter()
    next(batches)
    first_s = time.perf_counter() - start
    for _ in range(2 * args.num_workers):
        next(batches)
    start, cpu_s, peaks = time.perf_counter(), _cpu_s(), [0.0]
    for _ in range(args.num_batches):
        next(batches)
        paused = time.perf_counter()
        _peak_mib(peaks)
        start += time.perf_counter() - paused
    wall_s, cpu_s = time.perf_counter() - start, _cpu_s() - cpu_s
    batches.close()
    num_clips = args.num_batches * args.batch_size
    return {
        "clips_per_s": num_clips / wall_s,
        "cpu_ms_per_clip": 1000 * cpu_s / num_clips,
        "peak_mib": peaks[0] - before,
        "s_to_first_batch": first_s,
    }


def _processes() -> list[Any]:
    """This process and those that it has started."""
    import psutil

    return [psutil.Process(), *psutil.Process().children(recursive=True)]


def _cpu_s() -> float:
    return sum(sum(process.cpu_times()[:2]) for process in _processes())


def _peak_mib(peaks: list[float]) -> float:
    """Memory of all processes, shared pages once; also raises the peak."""
    held = sum(process.memory_full_info().pss for process in _processes()) / 2**20
    peaks[:] = [max(held, *peaks)] if peaks else []
    return held


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


def _render(folder: str, num_clips: int) -> str:
    print(f"rendering {num_clips} clips of Puppet Stage (tone voices, which require no package)", flush=True)
    sizes = {"train": num_clips, "validation": 0, "test_seen": 0, "test_unseen": 0}
    build("puppet_stage/soundtrack", folder, num_processes=1, voice_bank="tone", num_clips=sizes)
    return folder


if __name__ == "__main__":
    main()
