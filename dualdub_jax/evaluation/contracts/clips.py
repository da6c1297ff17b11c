"""One film with one soundtrack that is to be scored: the only thing that metrics see."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

SAMPLE_RATE_HZ = 16_000  # of every waveform here
FRAME_RATE_HZ = 25  # of video frames and of everything in `world`


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """A soundtrack and what is known of its film. `None` always means "not known" or "not given".

    A metric returns `None` for a clip that lacks what it needs; it never guesses and never scores zero.
    Waveforms are mono float32[S] in [-1, 1] at `SAMPLE_RATE_HZ`.

    Attributes:
        id: unique in its suite, the same for every system, so that systems can be compared clip by clip.
        num_samples: how long each track has to be: the film's length.
        speech: the system's speech track.
        background: the system's background track.
        mixture: the system's mixture of both, for systems that give no stems.
        text: what is to be said; "" means nobody speaks, None that nobody knows.
        voice: the reference recording that the speech should sound like.
        other_voice: a recording of somebody else, for the wrong-voice control.
        true_speech: the film's own speech.
        true_background: the film's own background.
        load_frames: decodes the film at `FRAME_RATE_HZ`: () -> uint8[T, height, width, 3], RGB. Called
            only by metrics that look at pictures.
        world: what a rendered world knows of the clip (Puppet Stage's events: "contacts", "mouth",
            "room", …); None for real films.
        group: a part of the suite that is reported apart, such as "seen" or "unseen" voices; "" for none.
        generation_s: seconds that generating the soundtrack took, compilation excluded.
    """

    id: str
    num_samples: int
    speech: np.ndarray | None = None
    background: np.ndarray | None = None
    mixture: np.ndarray | None = None
    text: str | None = None
    voice: np.ndarray | None = None
    other_voice: np.ndarray | None = None
    true_speech: np.ndarray | None = None
    true_background: np.ndarray | None = None
    load_frames: Callable[[], np.ndarray] | None = None
    world: Mapping[str, Any] | None = None
    group: str = ""
    generation_s: float | None = None

    @functools.cached_property
    def mix(self) -> np.ndarray | None:
        """float32[S], both tracks together: `mixture` if given, else the sum of what there is."""
        if self.mixture is not None:
            return self.mixture
        tracks = [track for track in (self.speech, self.background) if track is not None]
        if not tracks:
            return None
        mix = np.zeros(max(map(len, tracks)), np.float32)
        for track in tracks:
            mix[: len(track)] += track
        return mix

    @property
    def num_frames(self) -> int:
        """Frames of the film at `FRAME_RATE_HZ`, a last one cut short included."""
        return -(-self.num_samples * FRAME_RATE_HZ // SAMPLE_RATE_HZ)

    @property
    def duration_s(self) -> float:
        return self.num_samples / SAMPLE_RATE_HZ
