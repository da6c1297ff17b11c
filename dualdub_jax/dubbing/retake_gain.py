"""The gain of the new sound of a retake, under the gains of the film.

It is below 1 where the new stems alone, or their mix with what stays of the old sound, would exceed the
ceiling: of samples, or of true peaks if there is a limit of them. A mix with a limiter is lowered by that.
Source: our choice.
"""

from collections.abc import Mapping

import numpy as np

from dualdub_jax.config.streams import Stream
from dualdub_jax.dsp.blocks import BLOCK_SAMPLES
from dualdub_jax.dsp.true_peak import HALO, interpolate
from dualdub_jax.dubbing.mixdown import PEAK_MARGIN_DB, SPEECH, Mixdown, amplitude
from dualdub_jax.dubbing.project_state import ProjectState
from dualdub_jax.dubbing.splice import Splice
from dualdub_jax.dubbing.stems import PEAK_CEILING
from dualdub_jax.media.track import FloatFile


def local_gain(project: ProjectState, files: Mapping[Stream, FloatFile], splice: Splice) -> float:
    """The gain, at most 1, that keeps new sound below the ceilings of stems and mix.

    Args:
        project: whose chosen take is retaken.
        files: the new sound of the stems in use, as it is decoded; its first sample is the splice's.
        splice: where it will be.

    Raises:
        ValueError: the decoder gave values that are not finite.
    """
    mixdown, gain = project.mixdown, 1.0
    limit_dbtp = project.request.mix.limit_dbtp
    for first in range(splice.first, splice.end, BLOCK_SAMPLES):
        end = min(first + BLOCK_SAMPLES, splice.end)
        for file in files.values():
            new = file[first - splice.first : end - splice.first].astype(np.float64)
            if not np.isfinite(new).all():
                raise ValueError("the decoder gave values that are not finite")
            gain = min(gain, _most(np.zeros_like(new), mixdown.stem_gain * new, PEAK_CEILING))
        if mixdown.limiter is not None:
            continue
        part = max(first - 2 * HALO, 0), min(end + 2 * HALO, project.num_samples)
        kept, new = (mixdown.mix_gain * samples for samples in _parts(mixdown, files, splice, *part))
        if limit_dbtp is None:
            gain = min(gain, _most(kept, new, PEAK_CEILING))
        else:
            ceiling = amplitude(limit_dbtp - PEAK_MARGIN_DB)
            inside = slice(4 * max(first - HALO - part[0], 0), 4 * (end + HALO - part[0]))
            gain = min(gain, _most(interpolate(kept)[inside], interpolate(new)[inside], ceiling))
    return gain


def _parts(
    mixdown: Mixdown, files: Mapping[str, FloatFile], splice: Splice, first: int, end: int
) -> tuple[np.ndarray, np.ndarray]:
    """What samples [first, end) of the sum of the stems consist of: the old sound that stays, and the new."""
    ducked = mixdown.ducking.gains(first, end, mixdown.sample_rate_hz)
    sums = [0.0, 0.0]
    for name, stem in mixdown.stems.items():
        parts = [np.asarray(stem[first:end], np.float64)]
        if name in files:
            begin, stop = max(first, splice.first), min(end, splice.end)
            new = np.zeros_like(parts[0])
            new[begin - first : stop - first] = files[name][begin - splice.first : stop - splice.first]
            weight = splice.weight(new, first)
            parts = [(1.0 - weight) * parts[0], weight * mixdown.stem_gain * new]
        for i, samples in enumerate(parts):
            sums[i] = sums[i] + (samples if name == SPEECH else (samples.T * ducked).T)
    return sums[0], sums[1]


def _most(kept: np.ndarray, new: np.ndarray, ceiling: float) -> float:
    """The highest gain of `new`, 0 to 1, with which the sum of both is below a ceiling."""
    loudness = np.abs(new)
    room = np.maximum(ceiling - np.sign(new) * kept, 0.0)
    return float(np.min(np.where(loudness > room, room / np.maximum(loudness, 1e-9), 1.0), initial=1.0))
