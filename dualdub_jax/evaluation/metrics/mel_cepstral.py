"""Mel-cepstral distortion between the speech and the true speech."""

from collections.abc import Mapping

import numpy as np
import soxr

from dualdub_jax.evaluation.analysis.audible import as_sound, frame_levels_dbfs, is_silent
from dualdub_jax.evaluation.analysis.dynamic_time_warping import cheapest_path
from dualdub_jax.evaluation.analysis.mel_cepstrum import PLAIN, PYMCD, mel_cepstrum
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ, Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Requirement, Value

_DB = 10 / np.log(10) * np.sqrt(2)  # from the Euclidean distance of cepstra
_SPOKEN_DB = 25.0  # leading and trailing frames further below the loud ones are trimmed
_MIN_SAMPLES = SAMPLE_RATE_HZ // 10

_PYMCD_ABOUT = (
    "as computed by pymcd 0.2.1, for comparison with dubbing papers (22.05 kHz, order 13, warp 0.65, c0 "
    "included, cepstra of squared power: more than twice the plain figure)."
)


class MelCepstral(ClipMetric):
    """MCD, MCD-DTW and MCD-DTW-SL of the speech against the true speech, in dB, in two conventions.

    Plain figures (`mcd`, `mcd_dtw`, `mcd_dtw_sl`): mel cepstra of order 1 to 23 (without c0, the level; warp
    0.42) of WORLD's CheapTrick envelope every 5 ms at 16 kHz. The distortion of a frame is 10 / ln 10 times
    the root of twice the summed squared differences; that of a clip is the mean over frames or over the steps
    of the warping path.

    - `mcd` compares the whole tracks frame by frame, the shorter one padded with silence; it penalises
      timing errors.
    - `mcd_dtw` and `mcd_dtw_sl` compare the spoken parts, from the first to the last frame within 25 dB of
      the loud ones (95th percentile), since the tracks themselves have the film's duration. The warping is
      exact. SL multiplies by the ratio of the longer to the shorter length.

    Figures ending in `_pymcd` reproduce that package on the whole tracks. It treats WORLD's power envelope as
    an amplitude and includes c0, so they are not comparable with the plain figures.

    Limits: silence and noise floor count as any other frame in `mcd`; correct words in another voice score
    badly. A silent speech track is scored; a clip with silent ground truth is excluded.

    Source: Kubichek (1993); SL: Chen et al., V2C (2022); the parameters are ESPnet's at 16 kHz.
    """

    name = "mel_cepstral"
    figures = (
        Figure("mcd", "dB", "lower", "Mel-cepstral distortion to the true speech, frame by frame."),
        Figure("mcd_dtw", "dB", "lower", "The same over the spoken parts after dynamic time warping."),
        Figure("mcd_dtw_sl", "dB", "lower", "MCD-DTW times the longer spoken length over the shorter."),
        Figure("mcd_pymcd", "dB", "lower", f"MCD {_PYMCD_ABOUT}"),
        Figure("mcd_dtw_pymcd", "dB", "lower", f"MCD-DTW {_PYMCD_ABOUT}"),
        Figure("mcd_dtw_sl_pymcd", "dB", "lower", f"MCD-DTW-SL {_PYMCD_ABOUT}"),
    )
    requirements = (Requirement("pyworld-prebuilt", "pyworld"),)

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[] by figure, dB; no entry without speech and true speech of at least 0.1 s."""
        return {name: np.array(value) for name, value in _distortions(clip).items()}


def _distortions(clip: Clip) -> dict[str, float]:
    if clip.speech is None or clip.true_speech is None:
        return {}
    speech, truth = as_sound(clip.speech), as_sound(clip.true_speech)
    if min(len(speech), len(truth)) < _MIN_SAMPLES or is_silent(truth):
        return {}
    whole = [mel_cepstrum(sound, PLAIN)[:, 1:] for sound in _same_length(speech, truth)]
    spoken = [mel_cepstrum(spoken_part(sound), PLAIN)[:, 1:] for sound in (speech, truth)]
    warped = _warped_mean(*spoken)
    made, real = (soxr.resample(s, SAMPLE_RATE_HZ, PYMCD.sample_rate_hz) for s in (speech, truth))
    whole_pymcd = [mel_cepstrum(sound, PYMCD) for sound in _same_length(made, real)]
    own_pymcd = [mel_cepstrum(sound, PYMCD) for sound in (made, real)]
    warped_pymcd = _warped_mean(*own_pymcd, first=1)
    return {
        "mcd": _mean(*whole),
        "mcd_dtw": warped,
        "mcd_dtw_sl": warped * _length_ratio(*spoken),
        "mcd_pymcd": _mean(*whole_pymcd),
        "mcd_dtw_pymcd": warped_pymcd,
        "mcd_dtw_sl_pymcd": warped_pymcd * _length_ratio(*own_pymcd),
    }


def spoken_part(sound: np.ndarray) -> np.ndarray:
    """Trims leading and trailing silence of float64[S] at 16 kHz; keeps at least 0.1 s."""
    hop = SAMPLE_RATE_HZ // 100
    levels = frame_levels_dbfs(sound, 2 * hop, hop)
    active = np.flatnonzero(levels > np.percentile(levels, 95) - _SPOKEN_DB)
    start = max(0, min(active[0] * hop, len(sound) - _MIN_SAMPLES)) if len(active) else 0
    end = active[-1] * hop if len(active) else len(sound)
    return sound[start : max(end, start + _MIN_SAMPLES)]


def _same_length(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = max(len(x), len(y))
    return np.pad(x, (0, size - len(x))), np.pad(y, (0, size - len(y)))


def _mean(x: np.ndarray, y: np.ndarray) -> float:
    return float(_DB * np.mean(np.linalg.norm(x - y, axis=1)))


def _warped_mean(x: np.ndarray, y: np.ndarray, first: int = 0) -> float:
    """Mean distortion over the warping path, which is optimal for the coefficients from `first` on."""
    i, j = cheapest_path(x[:, first:], y[:, first:])
    return _mean(x[i], y[j])


def _length_ratio(x: np.ndarray, y: np.ndarray) -> float:
    return max(len(x), len(y)) / min(len(x), len(y))
