"""Room acoustics: reverberation time and noise floor."""

from typing import NamedTuple

# Range of the bins of both quantities; values are clipped to it.
ACOUSTICS_RANGES = {"rt60_s": (0.05, 3.2), "noise_dbfs": (-80.0, -20.0)}


class Acoustics(NamedTuple):
    """Room acoustics, shared by both streams; None where a quantity is unknown.

    Attributes:
        rt60_s: reverberation time, the decay time by 60 dB, seconds.
        noise_dbfs: root mean square level of the background's stationary noise, dBFS.
    """

    rt60_s: float | None
    noise_dbfs: float | None
