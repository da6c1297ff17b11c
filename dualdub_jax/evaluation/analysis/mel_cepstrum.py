"""Mel cepstra of WORLD's spectral envelopes, on which mel-cepstral distortion is defined."""

import dataclasses
import functools

import numpy as np

from dualdub_jax.evaluation.analysis.track_memo import once_per_track

_HOP_MS = 5.0  # WORLD's default, used throughout the literature


@dataclasses.dataclass(frozen=True)
class Convention:
    """Parameters of a mel cepstrum; figures of different conventions are not comparable.

    Attributes:
        sample_rate_hz: of the waveform.
        n_fft: of the envelope; None for WORLD's default at this rate.
        order: of the last coefficient; the first has order 0.
        warp: all-pass constant of the frequency warping towards the mel scale.
        squares_power: treats the power envelope as an amplitude, which doubles every coefficient.
        power_floor: added to the power before the logarithm, by default about 16-bit quantisation noise.
            Without it, the empty high band of a narrow-band track would dominate the distortion.
    """

    sample_rate_hz: int
    n_fft: int | None
    order: int
    warp: float
    squares_power: bool = False
    power_floor: float = 1e-10


# ESPnet's evaluation at 16 kHz.
PLAIN = Convention(sample_rate_hz=16_000, n_fft=None, order=23, warp=0.42)
# pymcd 0.2.1, which dubbing papers use.
PYMCD = Convention(
    sample_rate_hz=22_050, n_fft=512, order=13, warp=0.65, squares_power=True, power_floor=1e-8
)


@once_per_track(max_size=1024)
def mel_cepstrum(sound: np.ndarray, convention: Convention) -> np.ndarray:
    """Mel cepstrum every 5 ms: CheapTrick envelopes on DIO and StoneMask pitch, then the frequency warp.

    Args:
        sound: float64[S] at the convention's rate.
        convention: its parameters.

    Returns:
        float64[T, order + 1], natural logarithm of amplitude (doubled where `squares_power`).
    """
    import pyworld

    rate_hz = convention.sample_rate_hz
    sound = np.ascontiguousarray(sound, np.float64)
    rough_hz, times_s = pyworld.dio(sound, rate_hz, frame_period=_HOP_MS)
    pitch_hz = pyworld.stonemask(sound, rough_hz, times_s, rate_hz)
    power = pyworld.cheaptrick(sound, pitch_hz, times_s, rate_hz, fft_size=convention.n_fft)
    if convention.squares_power:
        power = power**2
    return warped_cepstrum(power + convention.power_floor, convention.order, convention.warp)


def warped_cepstrum(power: np.ndarray, order: int, warp: float) -> np.ndarray:
    """The minimum-phase cepstrum of a power spectrum on a warped frequency axis (SPTK's `sp2mc`).

    Args:
        power: float64[T, K], above 0, K bins from 0 to half the sampling rate.
        order: of the last coefficient.
        warp: all-pass constant, 0 for none.

    Returns:
        float64[T, order + 1].
    """
    cepstrum = np.fft.irfft(np.log(power), axis=1)[:, : power.shape[1]]
    # Log amplitude is half of log power; both sides of the even cepstrum are folded into its causal half.
    cepstrum[:, [0, -1]] *= 0.5
    return cepstrum @ _warping(power.shape[1], order, warp)


@functools.lru_cache(maxsize=8)
def _warping(num_bins: int, order: int, warp: float) -> np.ndarray:
    """float64[num_bins, order + 1]: the matrix of cepstral warping, by the recursion of Oppenheim and Johnson
    (1972) on all unit vectors at once."""
    warped = np.zeros((order + 1, num_bins))
    for unit in np.eye(num_bins)[::-1]:
        old = warped.copy()
        warped[0] = unit + warp * old[0]
        if order:
            warped[1] = (1 - warp**2) * old[0] + warp * old[1]
        for k in range(2, order + 1):
            warped[k] = old[k - 1] + warp * (old[k] - warped[k - 1])
    return warped.T
