"""A recogniser that knows the words it should find and reports repeats, omissions and other speech.

An open-vocabulary recogniser with a language model smooths over a repeated or a dropped word. This one aligns
the asked words with the sound and may, between any two of them, leave a word out, go back by up to three
words, or pass through a loop of all phones, each at a cost in log-likelihood. The words of the best path are
compared with those that were asked.

Of the loop, runs of `_LEAST_OTHER_FRAMES` and more count as a word that was not asked for. Shorter ones are
transitions, and soft ones the tail of a room. A word of three or more phones that was squeezed into the least
time that the acoustic model allows is not spoken. Costs were chosen on 60 sentences of the puppets' voices;
`benchmarks/asked_words.py` measures others.

Limits: English. Words that the dictionary lacks are matched with any speech and reported as unknown. A word
that is replaced by a similar one is often taken for the asked one. Repeats of words shorter than 0.1 s are
missed more often than not.

Source: our choice; the acoustic model and the search are PocketSphinx's (Huggins-Daines et al., 2006).
"""

import dataclasses
import difflib
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dualdub_jax.dsp.activity import frame_rms
from dualdub_jax.evaluation.analysis.speech_level import active_part
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ
from dualdub_jax.evaluation.contracts.metric import Requirement
from dualdub_jax.evaluation.listeners.packaged_file import packaged_file, sha256_of

REQUIREMENTS = (Requirement("pocketsphinx", "pocketsphinx"),)
OTHER = "…"  # speech that is none of the asked words
_SKIP, _BACK, _ENTER, _STAY = 1e-5, 1e-3, 1e-10, 1e-3  # probabilities
_MOST_BACK, _FURTHER_BACK = 3, 0.3
_LEAST_OTHER_FRAMES, _LEAST_FRAMES_PER_PHONE, _LEAST_PHONES = 12, 3, 3
_OTHER_DB, _LOUD_PERCENTILE = 15.0, 95  # other speech is softer than the loud frames by this at most
_ACTIVE_DB, _MARGIN_S, _PAUSE_S, _HISS_RMS = 26.0, 0.2, 0.2, 0.0005
_MODEL_FILES = ("mdef", "means", "variances", "sendump", "transition_matrices", "feat.params")
_PHONES = (
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH", "IY",
    "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y",
    "Z", "ZH",
)  # fmt: skip
_PHONE, _ANY, _LETTER = "other_", "any_", "letter_"
_OTHER_LETTERS = {"a": ("EY", "AH"), "z": ("Z IY", "Z EH D")}


@dataclasses.dataclass(frozen=True)
class AskedWords:
    """The words of a text that a recording has.

    Attributes:
        asked: words of the text that are checked, lower case, without punctuation.
        spoken: words of the best path; `OTHER` for speech that is none of the asked words.
        unknown: words of the text that the dictionary lacks, which are not checked.
    """

    asked: tuple[str, ...]
    spoken: tuple[str, ...]
    unknown: tuple[str, ...] = ()

    @property
    def dropped(self) -> tuple[str, ...]:
        """Asked words that are not spoken, in order."""
        return tuple(word for a, b, _, _ in self._differences() for word in self.asked[a:b])

    @property
    def added(self) -> tuple[str, ...]:
        """Repeated words and `OTHER`, in order."""
        return tuple(word for _, _, a, b in self._differences() for word in self.spoken[a:b])

    @property
    def num_different(self) -> int:
        """Words that were dropped, added or replaced."""
        return sum(max(b - a, d - c) for a, b, c, d in self._differences())

    def _differences(self) -> Iterator[tuple[int, int, int, int]]:
        matcher = difflib.SequenceMatcher(None, self.asked, self.spoken, autojunk=False)
        return (span for kind, *span in matcher.get_opcodes() if kind != "equal")


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text as the dictionary has them: lower case, with apostrophes."""
    return tuple(re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("\u2019", "'")))


def recognise(speech: np.ndarray, text: str) -> AskedWords:
    """Searches a recording for the words of a text.

    Args:
        speech: float[S] at 16 kHz; one sentence or a few.
        text: the script, its numbers written as words.

    Returns:
        The words found; nothing is spoken in an inaudible recording.
    """
    words = words_of(text)
    decoder = _decoder()
    labels = [_label(decoder, word) for word in words]
    asked = tuple(word for word, label in zip(words, labels, strict=True) if label is not None)
    unknown = tuple(word for word, label in zip(words, labels, strict=True) if label is None)
    samples = active_part(speech, _ACTIVE_DB, _MARGIN_S)
    if samples is None or not asked:
        return AskedWords(asked, (), unknown)
    names = {label: word for label, word in zip(labels, words, strict=True) if label is not None}
    decoder.add_fsg("asked", decoder.create_fsg("asked", 0, len(labels), list(_transitions(labels))))
    decoder.activate_search("asked")
    padded = np.pad(samples, round(_PAUSE_S * SAMPLE_RATE_HZ))
    hiss = _HISS_RMS * np.random.default_rng(0).standard_normal(len(padded))
    pcm = np.round(np.clip(padded + hiss, -1, 1) * 32767).astype("<i2")
    decoder.start_utt()
    decoder.process_raw(pcm.tobytes(), full_utt=True)
    decoder.end_utt()
    levels = frame_rms(padded, SAMPLE_RATE_HZ // 100)
    least = np.percentile(levels, _LOUD_PERCENTILE) * 10 ** (-_OTHER_DB / 20)
    segments = []
    for segment in decoder.seg() or ():
        first, end = segment.start_frame, segment.end_frame + 1
        is_tail = segment.word.startswith(_PHONE) and levels[first:end].mean() < least
        if not is_tail and not segment.word.startswith(("<", "[", "(")):
            segments.append((segment.word, end - first))
    return AskedWords(asked, tuple(_spoken(decoder, segments, names)), unknown)


def weights_sha256() -> str:
    """Hex digest of the acoustic model."""
    folder = packaged_file("pocketsphinx", "model", "en-us", "en-us")
    return sha256_of(*(folder / name for name in _MODEL_FILES))


def _transitions(labels: Sequence[str | None]) -> Iterator[tuple]:
    """The grammar: state i is behind the first i words, state `loops` + i in the loop of phones beside it."""
    loops = len(labels) + 1
    for i, label in enumerate(labels):
        if label is None:
            # Any speech will do: a loop that is entered at no cost and left behind the word.
            yield i, 2 * loops + i, 1.0
            for phone in _PHONES:
                yield 2 * loops + i, 2 * loops + i, 1 / len(_PHONES), _ANY + phone
            yield 2 * loops + i, i + 1, 1.0
            continue
        yield i, i + 1, 1 - _SKIP, label
        yield i, i + 1, _SKIP
        for back in range(1, min(_MOST_BACK, i + 1) + 1):
            yield i + 1, i + 1 - back, _BACK * _FURTHER_BACK ** (back - 1)
    for i in range(loops):
        yield i, loops + i, _ENTER
        for phone in _PHONES:
            yield loops + i, loops + i, _STAY / len(_PHONES), _PHONE + phone
        yield loops + i, i, 1 - _STAY


def _spoken(decoder: Any, segments: Sequence[tuple[str, int]], names: Mapping[str, str]) -> Iterator[str]:
    """The words of a path of (label, frames); `names` has the word of each label."""
    other_frames = 0
    for label, frames in [*segments, ("", 0)]:
        if label.startswith(_PHONE):
            other_frames += frames
            continue
        if other_frames >= _LEAST_OTHER_FRAMES:
            yield OTHER
        other_frames = 0
        name = names.get(label.partition("(")[0])
        if name is None:
            continue
        num_phones = len(decoder.lookup_word(label).split())
        if num_phones < _LEAST_PHONES or frames > _LEAST_FRAMES_PER_PHONE * num_phones:
            yield name


def _label(decoder: Any, word: str) -> str | None:
    """The dictionary's entry of a word; None if there is none. Letters have entries of their own."""
    if decoder.lookup_word(_LETTER + word):
        return _LETTER + word
    return word if decoder.lookup_word(word) else None


@functools.cache
def _decoder() -> Any:
    """The recogniser, loaded once a process, with entries of phones and of spelt letters.

    The language weight is 1, as in `grammar_asr`. The cepstral mean is that of the recording, so that none
    depends on those before it.
    """
    from pocketsphinx import Decoder

    decoder = Decoder(
        samprate=SAMPLE_RATE_HZ, lm=None, lw=1.0, bestpath=False, cmn="batch", beam=1e-80, wbeam=1e-60,
        pbeam=1e-80, loglevel="FATAL",
    )  # fmt: skip
    for phone in _PHONES:
        decoder.add_word(_PHONE + phone, phone, True)
        decoder.add_word(_ANY + phone, phone, True)
    for letter in "abcdefghijklmnopqrstuvwxyz":
        # The dictionary lists most letters as "b."; the others only as plain words.
        listed = decoder.lookup_word(f"{letter}.") or decoder.lookup_word(letter)
        for number, phones in enumerate(_OTHER_LETTERS.get(letter, (listed,)), start=1):
            decoder.add_word(f"{_LETTER}{letter}" + f"({number})" * (number > 1), phones, True)
    return decoder
