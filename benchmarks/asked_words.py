"""How well repeated and dropped words are found: spliced recordings of voices, and whole ones.

    python benchmarks/asked_words.py --num-clips 40
    python benchmarks/asked_words.py --recordings DIR    (with NAME.wav and NAME.txt, English)

In each recording one word is repeated, then cut out, by cross-fades of 5 ms at the word's times; the whole
recording counts false alarms. Sentences and voices are those of the puppets, whose word times are known, of
another seed than the one that the recogniser's costs were chosen on; words of other recordings are found by
forced alignment. Beside it, the words that Whisper tiny.en writes for the same recordings: a repeat counts as
found if the transcript has the word more often than the script. Requires the extras "data" and "eval".
"""

import argparse
import collections
import json
import pathlib
import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dualdub_jax.data_pipeline.builders.clips.sound import Sound
from dualdub_jax.data_pipeline.builders.clips.word_times import align
from dualdub_jax.data_pipeline.builders.puppet_stage import sentences
from dualdub_jax.data_pipeline.builders.puppet_stage.voices import bank
from dualdub_jax.evaluation.analysis.text_normaliser import normalise
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ
from dualdub_jax.evaluation.listeners import asked_words
from dualdub_jax.evaluation.metrics.open_asr import transcript
from dualdub_jax.evaluation.suites.sound import read_track


class Recording(NamedTuple):
    """A text, its recording float32[S] at 16 kHz, and the times of the words."""

    text: str
    speech: np.ndarray
    times_s: list[tuple[float, float]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--num-clips", type=int, default=40, help="of each kind of sentence")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--least-word-s", type=float, default=0.1, help="shorter words are not spliced")
    parser.add_argument("--recordings", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--without-whisper", action="store_true")
    args = parser.parse_args()
    sets = (
        {"recordings": list(read_recordings(args.recordings))}
        if args.recordings
        else {kind: list(spoken(kind, args.num_clips, args.seed)) for kind in ("grid", "free")}
    )
    results = {}
    for name, recordings in sets.items():
        rng = np.random.default_rng(args.seed)
        spliced = [
            (recording, place) for recording in recordings
            if (place := pick(recording, args.least_word_s, rng)) is not None
        ]  # fmt: skip
        recognisers = {"asked": errors_asked}
        if not args.without_whisper:
            recognisers["whisper"] = errors_whisper
        for kind, errors in recognisers.items():
            results |= {f"{name}_{kind}_{key}": value for key, value in judge(spliced, errors).items()}
    for key, value in results.items():
        print(f"{key:36s} {value:6d}")
    print(json.dumps(results))
    return 0


def spoken(kind: str, count: int, seed: int) -> Iterator[Recording]:
    """Sentences of the puppets' grammars, by all of their voices in turn."""
    voices, rng = bank("hibari"), np.random.default_rng(seed)
    names = voices.seen + voices.unseen
    for i in range(count):
        text = sentences.draw(rng, "test_seen", kind)
        speech, times = voices.synthesise(names[i % len(names)], text)
        yield Recording(text, speech, [(start_s, end_s) for _, start_s, end_s in times.words])


def read_recordings(folder: pathlib.Path) -> Iterator[Recording]:
    """Sound files with their texts; those that cannot be aligned are named and left out."""
    for path in sorted(folder.glob("*.wav")):
        text = normalise(path.with_suffix(".txt").read_text(encoding="utf-8"))
        speech = read_track(path)
        times = align(Sound(speech, SAMPLE_RATE_HZ), text)
        if times:
            yield Recording(text, speech, [(start_s, end_s) for _, start_s, end_s in times])
        else:
            print(f"{path}: not aligned", file=sys.stderr)


def pick(recording: Recording, least_s: float, rng: np.random.Generator) -> int | None:
    """A word of at least a length; None if there is none."""
    long = [i for i, (start_s, end_s) in enumerate(recording.times_s) if end_s - start_s >= least_s]
    return int(rng.choice(long)) if long else None


def judge(spliced: list[tuple[Recording, int]], errors) -> dict[str, int]:
    """Counts recordings in which `errors` finds an added or a dropped word."""
    counts = collections.Counter(recordings=len(spliced))
    for recording, place in spliced:
        added, dropped = errors(recording.speech, recording.text)
        counts["false_alarms"] += bool(added or dropped)
        counts["false_words"] += len(added) + len(dropped)
        counts["words"] += len(recording.times_s)
        span_s = recording.times_s[place]
        # Of what is spliced, only what the whole recording does not have already.
        more, _ = errors(with_repeat(recording.speech, *span_s), recording.text)
        counts["repeats_found"] += len(more) > len(added)
        _, less = errors(without_part(recording.speech, *span_s), recording.text)
        counts["omissions_found"] += len(less) > len(dropped)
    return dict(counts)


def errors_asked(speech: np.ndarray, text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Added and dropped words by the recogniser of this script."""
    found = asked_words.recognise(speech, text)
    return found.added, found.dropped


def errors_whisper(speech: np.ndarray, text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Added and dropped words by Whisper's transcript."""
    found = asked_words.AskedWords(
        tuple(normalise(text).split()), tuple(normalise(transcript(speech)).split())
    )
    return found.added, found.dropped


def with_repeat(speech: np.ndarray, start_s: float, end_s: float) -> np.ndarray:
    """The recording with a part spoken twice in succession: float32[S] -> float32[S']."""
    start, end = round(start_s * SAMPLE_RATE_HZ), round(end_s * SAMPLE_RATE_HZ)
    return _joined(_joined(speech[:end], speech[start:end]), speech[end:])


def without_part(speech: np.ndarray, start_s: float, end_s: float) -> np.ndarray:
    """The recording without a part: float32[S] -> float32[S']."""
    return _joined(speech[: round(start_s * SAMPLE_RATE_HZ)], speech[round(end_s * SAMPLE_RATE_HZ) :])


def _joined(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Two recordings with a cross-fade of 5 ms; a shorter one is appended."""
    fade = SAMPLE_RATE_HZ // 200
    if min(len(before), len(after)) < fade:
        return np.concatenate([before, after])
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    middle = before[-fade:] * (1 - ramp) + after[:fade] * ramp
    return np.concatenate([before[:-fade], middle, after[fade:]])


if __name__ == "__main__":
    sys.exit(main())
