"""The listeners of a film: one for each voice and room, made when it is needed."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.dubbing.protocol import DubbingEngine
from dualdub_jax.dubbing.speech_check import Listener
from dualdub_jax.dubbing.utterances import Utterance
from dualdub_jax.dubbing.window import Window


class Listeners:
    """Tells speech of any voice in any room of a film from silence."""

    def __init__(self, engine: DubbingEngine, voices: Mapping[str, np.ndarray | None]) -> None:
        """Binds the model.

        Args:
            engine: decodes speech.
            voices: recordings by speaker.
        """
        self._engine, self._voices = engine, voices
        self._found: dict[tuple[str, Acoustics | None], Listener] = {}

    def of(self, speaker: str, acoustics: Acoustics | None) -> Listener:
        """The listener of a voice in a room."""
        key = speaker, acoustics
        if key not in self._found:
            self._found[key] = Listener(self._engine, self._voices[speaker], acoustics)
        return self._found[key]

    def thresholds_dbfs(
        self,
        utterances: Sequence[Utterance],
        windows: Sequence[Window],
        acoustics: Sequence[Acoustics | None],
        frame_rate: Fraction,
    ) -> list[float]:
        """By utterance, the level from which on 10 ms of the track are speech.

        Args:
            utterances: of the film.
            windows: the plan.
            acoustics: by scene.
            frame_rate: of the windows, frames a second.
        """
        return [
            max(
                self.of(window.speaker, acoustics[window.scene]).threshold_dbfs
                for window in windows
                if window.text
                and window.start_frame < utterance.end_s * frame_rate
                and window.end_frame > utterance.start_s * frame_rate
            )
            for utterance in utterances
        ]
