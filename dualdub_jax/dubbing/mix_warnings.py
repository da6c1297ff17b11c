"""What a film maker should know of a mix with a loudness: that it was missed, or what it costs the peaks."""

import math

from dualdub_jax.dubbing.mix_settings import LUFS_RANGE, MixSettings
from dualdub_jax.dubbing.mixdown import MAX_GAIN_DB, Loudness

TOLERANCE_LU = 0.5  # that broadcasters allow
MOST_LIMITED_DB = 6.0  # above, limiting may be audible as distortion; our choice


def mix_warnings(settings: MixSettings, loudness: Loudness | None, is_retake: bool = False) -> list[str]:
    """What is wrong with a mix, one sentence each.

    Args:
        settings: what was asked of it.
        loudness: what was measured of it; None: nothing.
        is_retake: its gains are those of another take.
    """
    if settings.lufs is None or loudness is None:
        return []
    if loudness.before_lufs is None or loudness.after_lufs is None:
        return [
            f"the mix is silent or shorter than 0.4 s and has no loudness: --lufs {settings.lufs:g} changes "
            "nothing"
        ]
    if abs(loudness.after_lufs - settings.lufs) > TOLERANCE_LU:
        return [_missed(settings, loudness, is_retake)]
    if loudness.limited_db > MOST_LIMITED_DB:
        return [_limited(settings, loudness, is_retake)]
    return []


def _missed(settings: MixSettings, loudness: Loudness, is_retake: bool) -> str:
    missed = f"the mix has {loudness.after_lufs:.1f} LUFS and not {settings.lufs:g} LUFS: "
    if is_retake:
        return missed + "a retake keeps the gains of the film"
    measured = f"({loudness.before_lufs:.1f} LUFS before, limited by up to {loudness.limited_db:.1f} dB)"
    if loudness.limited_db < 0.1:
        return f"{missed}it is not raised by more than {MAX_GAIN_DB:g} dB {measured}"
    return (
        f"{missed}the limit of {settings.limit_dbtp:g} dBTP leaves no room {measured}; choose a lower --lufs "
        "or a higher --true-peak"
    )


def _limited(settings: MixSettings, loudness: Loudness, is_retake: bool) -> str:
    warning = (
        f"to reach {settings.lufs:g} LUFS below {settings.limit_dbtp:g} dBTP, the limiter lowers peaks of "
        f"the mix by up to {loudness.limited_db:.1f} dB, which may be heard as distortion; "
    )
    gentle_lufs = math.floor(settings.lufs - (loudness.limited_db - MOST_LIMITED_DB))
    remedy = f"--lufs {gentle_lufs}" if gentle_lufs >= LUFS_RANGE[0] else "a much lower --lufs"
    return (
        warning + ("choose another --seed, or dub the film anew with " if is_retake else "choose ") + remedy
    )
