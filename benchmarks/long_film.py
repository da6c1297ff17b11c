"""Memory and time of dubbing a long film by stage, compared with a film of a fifth of its length.

    python benchmarks/long_film.py                                 # ten minutes, the bundled model
    python benchmarks/long_film.py --minutes 120 --random-tokens   # two hours without generation
    python benchmarks/long_film.py --minutes 5 --random-tokens --size 1280x720

The film is synthetic, at 25 frames a second, with a cut every five seconds, another scene every minute and a
cue every eight seconds. It is dubbed to a loudness, with ducking, into a film with subtitles, stems at 48
kHz, a receipt and a report; then a second at its end is taken again. Each length is dubbed in a separate
process, whose resident memory is sampled every 20 ms. Jumps of level and spectrum at the seams of windows
are ranked among those elsewhere in the background. With --random-tokens generation is replaced by random
tokens, which the output states; reading, decoding, mixing and muxing are unchanged.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import pathlib
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import av
import numpy as np
import pysubs2

FRAME_RATE = 25
_SHOT_S, _SCENE_S = 5, 60
_PICTURES = 16  # of a shot, in turn
_LOOKS = 6  # of shots; two of them alternate in a scene
_MIX = {"lufs": -23.0, "duck": 9.0}
_SAMPLING_S = 0.02
_CUES = ("lay blue at e nine soon", "place green by a four again", "set white with f four again")
_CUE_EVERY_S, _CUE_S = 8, 2.5
_RANKED_S = 120  # of the track in which seams are ranked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the film")
    parser.add_argument("--random-tokens", action="store_true", help="draw tokens at random")
    parser.add_argument("--size", default="320x180", metavar="WxH", help="of the pictures")
    parser.add_argument("--checkpoint", type=pathlib.Path, help="default: the one in the package")
    args = parser.parse_args()
    size = tuple(map(int, args.size.split("x")))
    measured = {}
    with tempfile.TemporaryDirectory(prefix="long_film-") as folder:
        for minutes in (args.minutes / 5, args.minutes):
            film = make_film(pathlib.Path(folder) / f"{minutes:g}.mp4", minutes, size)
            script = write_cues(film.with_suffix(".srt"), minutes)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                job = film, script, minutes, args.random_tokens, args.checkpoint
                measured[minutes] = pool.apply(dub, job)
            film.unlink()
    print_table(measured, args.size, args.random_tokens)


def make_film(path: pathlib.Path, minutes: float, size: tuple[int, int]) -> pathlib.Path:
    """A film of moving stripes, whose colours change with the shot."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    pictures = [[_picture(rows, columns, look, t) for t in range(_PICTURES)] for look in range(_LOOKS)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for t in range(round(60 * minutes * FRAME_RATE)):
            time_s = t // FRAME_RATE
            look = (2 * (time_s // _SCENE_S) + time_s // _SHOT_S % 2) % _LOOKS
            picture = pictures[look][t % _PICTURES]
            picture.pts = t
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def _picture(rows: np.ndarray, columns: np.ndarray, look: int, t: int) -> av.VideoFrame:
    stripes = (2 * columns + 3 * rows + 16 * t) % 256 / 4
    colour = 190 * np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]])[look]
    pixels = (stripes[..., None] + colour).astype(np.uint8)
    return av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")


def write_cues(path: pathlib.Path, minutes: float) -> pathlib.Path:
    """Subtitles for the whole film."""
    subtitles = pysubs2.SSAFile()
    for i in range(int(60 * minutes / _CUE_EVERY_S)):
        start_ms = 1000 * i * _CUE_EVERY_S
        end_ms = start_ms + round(1000 * _CUE_S)
        subtitles.append(pysubs2.SSAEvent(start=start_ms, end=end_ms, text=_CUES[i % len(_CUES)]))
    subtitles.save(str(path))
    return path


class MemoryMeter:
    """Samples the resident memory of this process, MB."""

    def __init__(self) -> None:
        self.peak_mb = self._now_mb()
        self._stop = threading.Event()
        threading.Thread(target=self._sample, daemon=True).start()

    def take_peak_mb(self) -> float:
        """The peak since the last call."""
        peak_mb, self.peak_mb = max(self.peak_mb, self._now_mb()), self._now_mb()
        return peak_mb

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLING_S):
            self.peak_mb = max(self.peak_mb, self._now_mb())

    def _now_mb(self) -> float:
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def dub(
    film: pathlib.Path,
    script: pathlib.Path,
    minutes: float,
    random_tokens: bool,
    checkpoint: pathlib.Path | None,
) -> dict[str, Any]:
    """Dubs a film; returns seconds and peak memory by stage."""
    import dualdub_jax
    from dualdub_jax.dubbing.delivery import Targets, deliver
    from dualdub_jax.dubbing.progress import Progress
    from dualdub_jax.dubbing.project import Project
    from dualdub_jax.dubbing.request import DubRequest

    meter, peaks_mb = MemoryMeter(), {}

    class MeasuredProgress(Progress):
        @contextlib.contextmanager
        def _shown(self, name: str) -> Iterator[Any]:
            meter.take_peak_mb()
            yield lambda fraction: None
            peaks_mb[name] = meter.take_peak_mb()

    progress = MeasuredProgress()
    start_s = time.perf_counter()
    with progress.step("load model"):
        model = dualdub_jax.load(checkpoint)
    if random_tokens:
        model.engine.generate = _random_generate(model.engine)
    folder = film.with_suffix(".dub")
    folder.mkdir()
    files = {"receipt": folder / "receipt.json", "report": folder / "report.html", "stems": folder / "stems"}
    targets = Targets.make(
        folder / "dubbed.mkv", **files, stem_rate=48_000, subtitles=[True, folder / "spoken.srt"]
    )
    request = DubRequest(film, script=str(script), mix=_MIX)
    with Project(request, folder / "project", progress) as project:
        project.read(targets.out)
        project.dub(model.engine, model.checkpoint)
        deliver(project, targets)
        token_mb = sum(tokens.nbytes for tokens in project.take.tokens.values()) / 1e6
        level_rank, flux_rank = rank_seams(project)
        project.retake(model.engine, (60 * minutes - 1.5, 60 * minutes - 0.5))
        num_scenes = len(project.take.acoustics)
    shutil.rmtree(folder)
    return {
        "seconds": dict(progress.seconds),
        "peaks_mb": peaks_mb,
        "token_mb": token_mb,
        "num_scenes": num_scenes,
        "seam_level_rank": level_rank,
        "seam_flux_rank": flux_rank,
        "total_s": time.perf_counter() - start_s,
    }


def rank_seams(project: Any) -> tuple[float, float]:
    """Mean ranks of the jumps at the seams of the first minutes, of level and flux; 0.5 is like elsewhere."""
    from dualdub_jax.evaluation.analysis.seams import seam_ranks

    starts_s = [float(window.start_frame / project.frame_rate) for window in project.windows[1:]]
    track = project.tracks["background"]
    part = track[: _RANKED_S * track.sample_rate_hz]
    seams_s = [start_s for start_s in starts_s if start_s < len(part) / track.sample_rate_hz - 1]
    return tuple(seam_ranks(part, track.sample_rate_hz, seams_s).mean(axis=0).tolist())


def _random_generate(engine: Any) -> Any:
    def generate(
        *, video: Mapping[str, np.ndarray], context: Mapping[str, np.ndarray], seed: int, **rest: Any
    ) -> Any:
        rng, tokens = np.random.default_rng(seed), {}
        (num_frames,) = {len(frames) for frames in video.values()}
        for stream, codec in engine.codecs.items():
            if rest[f"use_{stream}"]:
                shape = (num_frames, codec.spec.num_codebooks)
                tokens[stream] = rng.integers(0, codec.spec.codebook_size, shape).astype(np.int32)
                tokens[stream][: len(context.get(stream, ()))] = context.get(stream, 0)
        return tokens

    return generate


def print_table(measured: dict[float, dict[str, Any]], size: str, random_tokens: bool) -> None:
    (short, brief), (long, whole) = measured.items()
    if random_tokens:
        print("tokens drawn at random: generation is not measured")
    print(f"{'':12s} {'seconds':>20s} {'peak memory, MB':>20s}")
    print(f"{'film, min':12s} {short:10.4g} {long:9.4g} {short:10.4g} {long:9.4g}")
    for name in whole["seconds"]:
        pair = [run[kind].get(name, 0.0) for kind in ("seconds", "peaks_mb") for run in (brief, whole)]
        print(f"{name:12s} {pair[0]:10.2f} {pair[1]:9.2f} {pair[2]:10.0f} {pair[3]:9.0f}")
    peak_mb = max(whole["peaks_mb"].values())
    growth = (peak_mb - max(brief["peaks_mb"].values())) / (long - short)
    print(
        f"peak memory grows by {growth:.2f} MB per minute of film; tokens: {whole['token_mb'] / long:.2f} MB"
    )
    print(
        "rank of the jumps at seams of windows among those elsewhere, 0 to 1 (0.5: like any other place): "
        f"level {whole['seam_level_rank']:.2f}, spectral flux {whole['seam_flux_rank']:.2f}"
    )
    print(f"{size} pixels, {whole['num_scenes']} scenes, {os.cpu_count()} cores")
    figures = {
        "minutes": long,
        "size": size,
        "num_scenes": whole["num_scenes"],
        "random_tokens": random_tokens,
        "peak_mb": peak_mb,
        "peak_mb_short": max(brief["peaks_mb"].values()),
        "growth_mb_per_minute": growth,
        "seam_level_rank": whole["seam_level_rank"],
        "seam_flux_rank": whole["seam_flux_rank"],
        "realtime_factor": 60 * long / whole["total_s"],
        **{f"peak_mb_{name.replace(' ', '_')}": value for name, value in whole["peaks_mb"].items()},
    }
    print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in figures.items()}))


if __name__ == "__main__":
    main()
