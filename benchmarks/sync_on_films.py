"""Which figure of synchronization tells the truth from other soundtracks on real films.

    python benchmarks/sync_on_films.py FILM [FILM …] --clip-s 4

Films are cut into clips. Each figure of `evaluation/metrics/audio_video.py` is measured for the film's own
sound, for that of every other clip, and for its own sound 200 ms late. Printed are the means, the probability
that the truth of a clip exceeds another clip's sound (0.5: chance), and the distance of the mean of the truth
from that of the others in standard errors; at 2 and less, the figure cannot tell them apart. The halves of
each film stand below the whole. The band of `av_sync` was chosen on the whole of Big Buck Bunny, which the
sdist of moviepy 2.2.1 has: figures of that film are those of a fitted choice. The last line is JSON.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Callable

import av
import numpy as np

from dualdub_jax.evaluation.contracts.clips import FRAME_RATE_HZ
from dualdub_jax.evaluation.metrics.audio_video import band_correlation, onsets_at, visible_change
from dualdub_jax.evaluation.suites.sound import read_track

LATE_S = 0.2
_SIZE = (160, 90)
Curve = Callable[[np.ndarray], np.ndarray]  # times in seconds -> audio curve
_COLUMNS = ("true", "others", "late", "probability", "standard_errors")


def plain_correlation(change: np.ndarray, curve: Curve) -> float:
    """That of `av_correlation`; its other lags are not needed here."""
    flux = curve(np.arange(len(change)) / FRAME_RATE_HZ)
    known = np.isfinite(change) & np.isfinite(flux)
    return float(np.nan_to_num(np.corrcoef(change[known], flux[known])[0, 1]))


FIGURES: dict[str, Callable[[np.ndarray, Curve], float]] = {
    "av_sync": band_correlation,
    "av_correlation": plain_correlation,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("films", nargs="+", type=pathlib.Path)
    parser.add_argument("--clip-s", type=float, default=4.0)
    args = parser.parse_args()
    results: dict[str, float] = {}
    print(f"{'film':<20} {'part':<7} {'clips':>5} {'figure':<15}" + "".join(f" {c:>15}" for c in _COLUMNS))
    for film in args.films:
        change, curve = visible_change(frames_of(film)), onsets_at(read_track(film))
        num_frames = round(args.clip_s * FRAME_RATE_HZ)
        starts = np.arange(0, len(change) - num_frames + 1, num_frames)
        halves = {"whole": starts, "first": starts[: len(starts) // 2], "second": starts[len(starts) // 2 :]}
        for part, some in halves.items():
            for name, figure in FIGURES.items():
                found = measure(change, curve, some, num_frames, figure)
                values = "".join(f" {found[column]:15.3f}" for column in _COLUMNS)
                print(f"{film.name[:20]:<20} {part:<7} {len(some):5d} {name:<15}{values}", flush=True)
                results |= {f"{film.stem}_{part}_{name}_{key}": value for key, value in found.items()}
    print(json.dumps({name: round(value, 4) for name, value in results.items()}))
    return 0


def measure(
    change: np.ndarray, curve: Curve, starts: np.ndarray, num_frames: int, figure: Callable
) -> dict[str, float]:
    """Means of one figure over clips, and how well it tells the truth from other clips' sound."""

    def at(start: int, sound_start_s: float) -> float:
        clip = change[start : start + num_frames]
        return figure(clip, lambda times_s: curve(times_s + sound_start_s))

    scores = np.array([[at(a, b / FRAME_RATE_HZ) for b in starts] for a in starts])
    late = [at(start, start / FRAME_RATE_HZ - LATE_S) for start in starts]
    true = np.diag(scores)
    others = scores[~np.eye(len(starts), dtype=bool)].reshape(len(starts), -1)
    return {
        "true": float(true.mean()),
        "others": float(others.mean()),
        "late": float(np.mean(late)),
        "probability": float((true[:, None] > others).mean()),
        "standard_errors": float((true.mean() - others.mean()) / others.std() * len(starts) ** 0.5),
    }


def frames_of(film: pathlib.Path) -> np.ndarray:
    """Small pictures uint8[T, 90, 160, 3] on the metrics' grid, each the last one shown at its time."""
    pictures: list[np.ndarray] = []
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        before = None
        for frame in container.decode(stream):
            picture = frame.reformat(*_SIZE, format="rgb24").to_ndarray()
            while before is not None and len(pictures) / FRAME_RATE_HZ < frame.time - 1e-6:
                pictures.append(before)
            before = picture
    return np.stack([*pictures, before])


if __name__ == "__main__":
    sys.exit(main())
