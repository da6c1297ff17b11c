"""From stems to a mix, in blocks:

    mix = limit(mix_gain * (speech + ducking * (background + original)))

to half a step of 16 bits. The stems are as they are delivered, so not ducked. Without a target of loudness,
`mix_gain` is below 1 only if the sum exceeds the ceiling, and nothing is limited; with one, it is the gain
that gives the mix its loudness, and true peaks above the ceiling are limited (dsp/limiter.py) where the
whole mix would have to be softer. Gains are measured in passes of their own before the first block is
mixed. Source: our choice.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dualdub_jax.dsp.blocks import BLOCK_SAMPLES
from dualdub_jax.dsp.limiter import Limiter
from dualdub_jax.dsp.loudness import LoudnessMeter
from dualdub_jax.dsp.true_peak import HALO, amplitude_db, local_peaks, most_overshoot
from dualdub_jax.dubbing.ducking import Ducking
from dualdub_jax.dubbing.mix_settings import MixSettings
from dualdub_jax.dubbing.stems import guard, peak_of, quantise
from dualdub_jax.media.track import Samples

MIX, SPEECH = "mix", "speech"  # all but speech is ducked
MAX_GAIN_DB = 30.0  # beyond, silence would become noise
_AIM_LU = 0.05
PEAK_MARGIN_DB = 0.2  # for meters that interpolate otherwise
_MAX_PASSES = 8
_LEAST_SLOPE = 0.2  # loudness gained by a decibel of gain: less is not worth the distortion


@dataclasses.dataclass(frozen=True)
class Loudness:
    """What was measured of a mix; None: it is silent or shorter than 0.4 s.

    Attributes:
        before_lufs: integrated loudness of the plain sum, ducked, that the gains were found for.
        after_lufs: of the mix.
        true_peak_dbtp: of the mix.
        limited_db: by how much the limiter lowers the mix at most.
    """

    before_lufs: float | None
    after_lufs: float | None
    true_peak_dbtp: float
    limited_db: float


@dataclasses.dataclass(frozen=True)
class Mixdown:
    """Stems with the gains of their mix.

    Attributes:
        stems: by name, float32[S], or [S, 2] in stereo, of equal lengths.
        sample_rate_hz: of the stems.
        stem_gain: that the stems have been given, for the record.
        ducking: gain of all but the speech, over time.
        mix_gain: of the sum.
        limiter: None: nothing is limited.
        loudness: as measured; None: nothing was asked for.
    """

    stems: Mapping[str, Samples]
    sample_rate_hz: int
    stem_gain: float = 1.0
    ducking: Ducking = dataclasses.field(default_factory=Ducking)
    mix_gain: float = 1.0
    limiter: Limiter | None = None
    loudness: Loudness | None = None

    @classmethod
    def measure(
        cls,
        stems: Mapping[str, Samples],
        sample_rate_hz: int,
        settings: MixSettings | None = None,
        ducking: Ducking | None = None,
        stem_gain: float = 1.0,
    ) -> "Mixdown":
        """Measures the gains of the mix; arguments as the attributes."""
        settings = settings or MixSettings()
        plain = cls(stems, sample_rate_hz, stem_gain, ducking or Ducking())
        if settings.limit_dbtp is None:
            return dataclasses.replace(plain, mix_gain=guard(plain._sum_peak()))
        before_lufs, sum_peak_db, _ = plain._meter()
        limit_dbtp = settings.limit_dbtp - PEAK_MARGIN_DB
        if settings.lufs is None or before_lufs is None:
            made = dataclasses.replace(plain, mix_gain=guard(amplitude(sum_peak_db), amplitude(limit_dbtp)))
            after_lufs, peak_db, limited_db = made._meter()
        else:
            made, (after_lufs, peak_db, limited_db) = plain._seek(settings.lufs, before_lufs, limit_dbtp)
        return dataclasses.replace(made, loudness=Loudness(before_lufs, after_lufs, peak_db, limited_db))

    @property
    def num_samples(self) -> int:
        """Length of all tracks."""
        return len(next(iter(self.stems.values())))

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields the mix, float32[n] (stereo [n, 2]), multiples of 1/32768."""
        for mix, _ in self._mixed():
            yield quantise(mix)

    def array(self) -> np.ndarray:
        """The mix as a whole, float32[num_samples], [num_samples, 2] in stereo."""
        return np.concatenate(list(self.blocks()))

    def part(self, first: int, end: int) -> np.ndarray:
        """Samples [first, end) of the mix, equal to those of `blocks`."""
        return quantise(self._mix(first, end)[0])

    def describe(self) -> dict[str, Any]:
        """Plain JSON values, for receipts; `restore` reads them."""
        return {
            "stem_gain": self.stem_gain,
            "mix_gain": self.mix_gain,
            "limiter_ceiling": self.limiter and self.limiter.ceiling,
            "ducking": self.ducking.describe() if self.ducking.depth_db else None,
            "loudness": self.loudness and dataclasses.asdict(self.loudness),
        }

    @classmethod
    def restore(
        cls, stems: Mapping[str, Samples], sample_rate_hz: int, described: Mapping[str, Any]
    ) -> "Mixdown":
        """The mixdown that `describe` described, for a mix of these or of other stems with the same gains."""
        ceiling, ducking, loudness = (described[key] for key in ("limiter_ceiling", "ducking", "loudness"))
        return cls(
            stems,
            sample_rate_hz,
            described["stem_gain"],
            Ducking() if ducking is None else Ducking.restore(ducking),
            described["mix_gain"],
            None if ceiling is None else Limiter(ceiling, sample_rate_hz),
            None if loudness is None else Loudness(**loudness),
        )

    def of_retake(self, stems: Mapping[str, Samples], mix: Samples) -> "Mixdown":
        """The same gains of other stems; what was measured is measured again, of their finished mix."""
        made = dataclasses.replace(self, stems=stems)
        if self.loudness is None:
            return made
        after_lufs, peak_db, limited_db = made._meter(mix)
        loudness = Loudness(self.loudness.before_lufs, after_lufs, peak_db, limited_db)
        return dataclasses.replace(made, loudness=loudness)

    def _seek(
        self, target_lufs: float, before_lufs: float, limit_dbtp: float
    ) -> tuple["Mixdown", tuple[float | None, float, float]]:
        """The mixdown that has a loudness, and what is measured of it.

        A limiter lowers the loudness, and rounding and smoothing move peaks a little: both are measured, and
        the gain (by the secant method) and the ceiling corrected.
        """
        gain_db, ceiling_db = target_lufs - before_lufs, limit_dbtp
        past: tuple[float, float] | None = None  # gain and loudness of the pass before
        for _ in range(_MAX_PASSES):
            gain_db = min(gain_db, MAX_GAIN_DB)
            limiter = Limiter(amplitude(ceiling_db), self.sample_rate_hz)
            made = dataclasses.replace(self, mix_gain=amplitude(gain_db), limiter=limiter)
            measured = after_lufs, peak_db, _ = made._meter()
            if after_lufs is None:  # it is so loud, and so low the limit, that nothing but clicks was there
                break
            missing_lu = target_lufs - after_lufs
            is_loud = abs(missing_lu) <= _AIM_LU or (gain_db >= MAX_GAIN_DB and missing_lu > 0)
            if is_loud and peak_db <= limit_dbtp + PEAK_MARGIN_DB / 2:
                break
            slope = 1.0
            if past is not None and gain_db != past[0]:
                slope = min(1.0, max(_LEAST_SLOPE, (after_lufs - past[1]) / (gain_db - past[0])))
            past = gain_db, after_lufs
            gain_db += missing_lu / slope
            ceiling_db -= max(0.0, peak_db - limit_dbtp)
        return made, measured

    def _meter(self, finished: Samples | None = None) -> tuple[float | None, float, float]:
        """Loudness (LUFS) and true peak (dBTP) of the finished mix, and how far it is limited (dB).

        Args:
            finished: the mix, where it is not that of these stems throughout.
        """
        meter, peak, least, position = None, 0.0, 1.0, 0
        halo = quantise(self._sum(-HALO, 0))
        held = halo[:0]
        for mix, gains in self._mixed():
            block = quantise(mix) if finished is None else finished[position : position + len(mix)]
            position += len(mix)
            meter = meter or LoudnessMeter(self.sample_rate_hz, 1 if block.ndim == 1 else block.shape[1])
            meter.push(block)
            least = min(least, float(np.min(gains)))
            held = np.concatenate([held if len(held) else halo, block])
            if peak_of(held) * most_overshoot() > peak:
                peak = max(peak, float(local_peaks(held).max(initial=0.0)))
            held = held[-2 * HALO :]
        if meter is None:
            return None, amplitude_db(0.0), 0.0
        peak = max(peak, float(local_peaks(np.concatenate([held, halo])).max(initial=0.0)))
        return meter.integrated_lufs, amplitude_db(peak), 0.0 - amplitude_db(least)

    def _mixed(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for first in range(0, self.num_samples, BLOCK_SAMPLES):
            yield self._mix(first, min(first + BLOCK_SAMPLES, self.num_samples))

    def _mix(self, first: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples [first, end) before rounding, and the limiter's gains of them."""
        if self.limiter is None:
            return self._sum(first, end) * self.mix_gain, np.ones(1)
        halo = self.limiter.halo
        mix = self._sum(first - halo, end + halo) * self.mix_gain
        gains = self.limiter.gains(mix)
        return (mix[halo:-halo].T * gains).T, gains

    def _sum_peak(self) -> float:
        parts = range(0, self.num_samples, BLOCK_SAMPLES)
        return max(
            (peak_of(self._sum(first, min(first + BLOCK_SAMPLES, self.num_samples))) for first in parts),
            default=0.0,
        )

    def _sum(self, first: int, end: int) -> np.ndarray:
        """float64[end - first], or [end - first, 2], of all stems, ducked; zeros outside of the film."""
        inside = slice(max(first, 0), min(end, self.num_samples))
        speech, others = 0.0, 0.0
        for name, stem in self.stems.items():
            samples = np.asarray(stem[inside], np.float64)
            if name == SPEECH:
                speech = speech + samples
            else:
                others = others + samples
        gains = self.ducking.gains(inside.start, inside.stop, self.sample_rate_hz)
        total = speech + (others.T * gains).T if isinstance(others, np.ndarray) else speech
        padding = [(inside.start - first, end - inside.stop)] + [(0, 0)] * (total.ndim - 1)
        return np.pad(total, padding)


def amplitude(decibels: float) -> float:
    """The amplitude of a level, dB full scale."""
    return 10.0 ** (decibels / 20.0)
