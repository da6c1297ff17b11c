"""Voice banks: sets of voices that synthesise sentences.

`HibariBank` makes 32 voices out of one fast neural voice. Its network predicts a source-filter
description of speech (pitch, spectral envelope of the harmonics, spectrum of the noise), so a new voice is
made before synthesis, where it costs nothing and leaves no vocoder artefacts: another pitch and
intonation, envelopes warped along frequency (a longer or shorter vocal tract), a spectral tilt, a
resonance, more or less breath, another pace. `ToneBank` needs no package and synthesises no language: it is
for tests. Source: our choice.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import soxr

from dualdub_jax.data_pipeline.builders.puppet_stage import sentences
from dualdub_jax.errors import UserError

SAMPLE_RATE_HZ = 16_000

Spans = list[tuple[str, float, float]]  # (word or phoneme, start_s, end_s), in order


class SpeechTimes(NamedTuple):
    """Times of words and phonemes, in seconds from the first sample.

    Attributes:
        words: of the text.
        phonemes: of the words; letters where a bank synthesises no language.
    """

    words: Spans
    phonemes: Spans


class VoiceBank(Protocol):
    """A set of voices. The same name gives the same samples on every machine of one kind.

    Attributes:
        name: goes into the dataset's metadata.
        seen: ids of the voices of the training splits.
        unseen: ids of voices of `test_unseen` only.
    """

    name: str
    seen: tuple[str, ...]
    unseen: tuple[str, ...]

    def synthesise(self, voice_id: str, text: str) -> tuple[np.ndarray, SpeechTimes | None]:
        """Synthesises `text`.

        Args:
            voice_id: one of `seen` or `unseen`.
            text: lower-case words.

        Returns:
            float32[S] in [-1, 1] at 16 kHz, without silence at the ends, root mean square about 0.1;
            and the times of its words, None where the bank has none.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Voice:
    """How one voice of `HibariBank` differs from the network's own.

    Attributes:
        pitch_hz: median fundamental frequency.
        intonation: exponent of the pitch contour around its median; 0 is a monotone.
        formant_ratio: frequencies of the spectral envelope times this; below 1 is a longer vocal tract.
        tilt_db: gain at 8 kHz less gain at 250 Hz, linear in octaves.
        breath_db: gain of the noise in voiced frames.
        resonance_hz: centre of an extra resonance, half an octave wide.
        resonance_db: its gain.
        pace: speed against the network's own.
    """

    pitch_hz: float
    intonation: float
    formant_ratio: float
    tilt_db: float
    breath_db: float
    resonance_hz: float
    resonance_db: float
    pace: float


NUM_SEEN, NUM_UNSEEN = 24, 8


def hibari_voices() -> dict[str, Voice]:
    """The 32 voices: spread over the whole range, every fourth one unseen in training."""
    count = NUM_SEEN + NUM_UNSEEN
    rng = np.random.default_rng(32)
    # Stratified draws: each property visits its whole range once, in an order of its own.
    strata = {name: (rng.permutation(count) + 0.5) / count for name in ("formant", "tilt", "breath", "place")}
    voices = {}
    for i in range(count):
        height = (i + 0.5) / count
        voices[f"hibari-{i:02d}"] = Voice(
            pitch_hz=float(85.0 * (270.0 / 85.0) ** height),
            intonation=float(rng.uniform(0.5, 1.5)),
            # Low voices come from longer vocal tracts, with a spread that keeps the two apart.
            formant_ratio=float((0.86 + 0.22 * height) * (1 + 0.14 * (strata["formant"][i] - 0.5))),
            tilt_db=float(-6 + 12 * strata["tilt"][i]),
            breath_db=float(-3 + 10 * strata["breath"][i]),
            resonance_hz=float(500 * 7 ** strata["place"][i]),
            resonance_db=float(rng.uniform(-6, 8)),
            pace=float(rng.uniform(0.78, 0.98)),
        )
    return voices


class HibariBank:
    """32 voices made from the Apache-2.0 package `hibari-tts`.

    Raises:
        UserError: the package is not installed.
    """

    name = "hibari"

    def __init__(self) -> None:
        try:
            import hibari
            import onnxruntime
            from hibari import dsp
        except ImportError as error:
            raise UserError(
                "hibari-tts is not installed, which gives Puppet Stage its voices; "
                "pip install 'dualdub-jax[data]'"
            ) from error
        self._dsp = dsp
        self._tts = hibari.Hibari(threads=1)
        self._session = onnxruntime.InferenceSession(
            _with_output(self._tts.model_path, _DURATIONS),
            self._tts.sess.get_session_options(),
            providers=self._tts.sess.get_providers(),
        )
        self.voices = hibari_voices()
        self.unseen = tuple(v for i, v in enumerate(self.voices) if i % 4 == 2)
        self.seen = tuple(v for v in self.voices if v not in self.unseen)

    def synthesise(self, voice_id: str, text: str) -> tuple[np.ndarray, SpeechTimes | None]:
        """See `VoiceBank.synthesise`; times are those of the network's durations."""
        voice = self.voices[voice_id]
        (phonemes,) = self._tts.phonemize(sentences.spoken_form(text))
        *outputs, durations = self._session.run(
            None,
            {
                "ids": np.asarray([self._tts.ids(phonemes)], np.int64),
                "speed": np.asarray([voice.pace], np.float32),
            },
        )
        samples = self._dsp.synth(
            *_transform(voice, *(o[0] for o in outputs), rate_hz=self._tts.sample_rate),
            np.random.default_rng(0),
        )
        samples = soxr.resample(samples, self._tts.sample_rate, SAMPLE_RATE_HZ)
        samples, cut_s = _trim_and_level(samples)
        # The network counts durations more coarsely than its output's frames.
        frames = np.cumsum(durations) * (outputs[0].shape[-1] / durations.sum())
        ends_s = frames * self._dsp.HOP / self._tts.sample_rate - cut_s - _LEAD_S
        ends_s = np.clip(ends_s, 0.0, len(samples) / SAMPLE_RATE_HZ).tolist()
        spoken = [char for char in phonemes if char in self._tts.vocab]

        def spans(names: Sequence[str], indices: list[tuple[int, int]]) -> Spans:
            pairs = zip(names, indices, strict=True)
            return [(name, ends_s[first], ends_s[last]) for name, (first, last) in pairs]

        names, indices = _phoneme_spans(spoken)
        return samples, SpeechTimes(spans(text.split(), _word_spans(spoken)), spans(names, indices))


def _transform(
    voice: Voice,
    harmonic: np.ndarray,
    phase: np.ndarray,
    noise: np.ndarray,
    free: np.ndarray,
    free_phase: np.ndarray,
    pitch_hz: np.ndarray,
    *,
    rate_hz: int,
) -> tuple[np.ndarray, ...]:
    """Turns the network's frames into another voice's.

    Args:
        voice: the voice to become.
        harmonic, noise, free: float32[K, F], log magnitudes of the harmonic, the noise and the
            free-phase spectrum, K bins from 0 to half of `rate_hz`.
        phase, free_phase: float32[K, F], (pre-tanh) phases of the harmonic and the free-phase spectrum.
        pitch_hz: float32[F], below 40 where unvoiced.
        rate_hz: sampling rate of the description.

    Returns:
        The same six arrays.
    """
    voiced = pitch_hz > 40
    if voiced.any():
        median_hz = np.median(pitch_hz[voiced])
        contour = (np.where(voiced, pitch_hz, median_hz) / median_hz) ** voice.intonation
        ratio = voice.pitch_hz / median_hz
        pitch_hz = np.where(voiced, np.clip(voice.pitch_hz * contour, 55, 480), 0).astype(np.float32)
    else:
        ratio = 1.0
    num_bins = harmonic.shape[0]
    source = np.minimum(np.arange(num_bins) / voice.formant_ratio, num_bins - 1)
    below = np.minimum(source.astype(int), num_bins - 2)
    weight = (source - below).astype(np.float32)[:, None]

    def warp(x: np.ndarray) -> np.ndarray:
        return x[below] * (1 - weight) + x[below + 1] * weight

    octave = np.log2(np.maximum(np.arange(num_bins) * rate_hz / 2 / (num_bins - 1), 60) / 1414)
    gain_db = voice.tilt_db * octave / 5
    gain_db += voice.resonance_db * np.exp(-0.5 * ((octave - np.log2(voice.resonance_hz / 1414)) / 0.35) ** 2)
    gain = (gain_db * np.log(10) / 20).astype(np.float32)[:, None]
    # Fewer harmonics under the same envelope carry less power: a higher voice is kept as loud as a low one.
    harmonic = warp(harmonic) + gain + np.float32(0.5 * np.log(ratio))
    breath = np.where(voiced, voice.breath_db * np.log(10) / 20, 0).astype(np.float32)
    noise = warp(noise) + gain + breath
    # The free-phase spectrum is tied to the phase of the original pitch, so in voiced frames it is
    # halved; what it adds there is roughness.
    free = warp(free) + gain - np.where(voiced, np.float32(np.log(2)), 0).astype(np.float32)
    return harmonic, warp(phase), noise, free, free_phase, pitch_hz


def _with_output(path: str, name: str) -> bytes:
    """An ONNX file's bytes with one more output, an inner value of its graph.

    Two protocol buffers, one after the other, are read as one whose lists are joined: what is appended here
    is a model that has nothing but a graph that has nothing but this output.
    """
    message = name.encode()
    for tag in (0x0A, 0x62, 0x3A):  # ValueInfoProto.name, GraphProto.output, ModelProto.graph
        message = bytes((tag, len(message))) + message
    return pathlib.Path(path).read_bytes() + message


_DURATIONS = "/Clip_output_0"  # of hibari 0.2's network: frames of each phoneme, a pad at each end
_LEAD_S = 0.05  # by which sounds precede the network's own count: measured at hissing onsets of three voices


def _word_spans(phonemes: Sequence[str]) -> list[tuple[int, int]]:
    """For each word, the indices whose ends in time are its beginning and its end; a pad comes before all."""
    spaces = [i for i, char in enumerate(phonemes, start=1) if char == " "]
    return list(zip([0, *spaces], [*(i - 1 for i in spaces), len(phonemes)], strict=True))


def _phoneme_spans(phonemes: Sequence[str]) -> tuple[list[str], list[tuple[int, int]]]:
    """Each phoneme with its mark of stress, and its indices as for `_word_spans`."""
    names, indices, first = [], [], None
    for i, char in enumerate(phonemes, start=1):
        if char == " ":
            continue
        first = i if first is None else first
        if char not in "ˈˌ":
            names.append("".join(phonemes[first - 1 : i]))
            indices.append((first - 1, i))
            first = None
    return names, indices


def _trim_and_level(samples: np.ndarray) -> tuple[np.ndarray, float]:
    """Cuts silence off the ends (30 ms stay) and brings the loud half to a root mean square of 0.1.

    Returns:
        The samples; the seconds that were cut off their beginning.
    """
    hop = SAMPLE_RATE_HZ // 100
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    level = np.sqrt(np.mean(np.square(frames, dtype=np.float64), axis=1))
    active = np.flatnonzero(level > 0.03 * level.max())
    start, end = max(active[0] - 3, 0) * hop, min(active[-1] + 4, len(frames)) * hop
    loud = level[level > np.median(level[active])]
    levelled = (samples[start:end] * (0.1 / np.sqrt(np.mean(loud**2)))).astype(np.float32)
    return levelled, start / SAMPLE_RATE_HZ


class ToneBank:
    """A buzz with formants for letters; needs no package, synthesises no language. For tests."""

    name = "tone"
    seen = tuple(f"tone-{i}" for i in range(4))
    unseen = ("tone-4", "tone-5")
    _letter_s, _pause_s = 0.05, 0.04

    def synthesise(self, voice_id: str, text: str) -> tuple[np.ndarray, SpeechTimes | None]:
        """See `VoiceBank.synthesise`; word times are exact."""
        pitch_hz = 100.0 * 1.17 ** int(voice_id.removeprefix("tone-"))
        pieces, words, letters, time_s = [], [], [], 0.0
        for word in text.split():
            start_s = time_s
            for letter in word:
                pieces.append(self._letter(letter, pitch_hz))
                letters.append((letter, time_s, time_s + self._letter_s))
                time_s += self._letter_s
            words.append((word, start_s, time_s))
            pieces.append(np.zeros(round(self._pause_s * SAMPLE_RATE_HZ), np.float32))
            time_s += self._pause_s
        return np.concatenate(pieces[:-1]), SpeechTimes(words, letters)

    @functools.lru_cache(maxsize=512)  # noqa: B019 (a bank lives as long as its process)
    def _letter(self, letter: str, pitch_hz: float) -> np.ndarray:
        t = np.arange(round(self._letter_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        harmonics = np.arange(1, int(6000 / pitch_hz)) * pitch_hz
        first_hz, second_hz = 300 + 90 * (ord(letter) % 7), 900 + 160 * (ord(letter) % 11)
        amplitude = np.exp(-(((harmonics - first_hz) / 150) ** 2)) + 0.5 * np.exp(
            -(((harmonics - second_hz) / 200) ** 2)
        )
        tone = np.sin(2 * np.pi * np.outer(t, harmonics)) @ amplitude
        tone *= np.sin(np.pi * (np.arange(len(t)) + 0.5) / len(t)) ** 0.5
        return (0.1 * tone / np.sqrt(np.mean(tone**2))).astype(np.float32)


_BANKS = {"hibari": HibariBank, "tone": ToneBank}


@functools.lru_cache(maxsize=2)
def bank(name: str) -> VoiceBank:
    """The voice bank called `name`, loaded once a process.

    Raises:
        UserError: no such bank, or its package is missing.
    """
    if name not in _BANKS:
        raise UserError(f"voice bank {name!r} does not exist; choose one of {', '.join(_BANKS)}")
    return _BANKS[name]()
