"""Sampling the tokens of a take, window by window: conditions, seeds and context of each."""

from collections.abc import Generator, Mapping

import numpy as np

from dualdub_jax.config import SamplingConfig
from dualdub_jax.config.streams import Stream
from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.dubbing.casting import spoken_by_others
from dualdub_jax.dubbing.listeners import Listeners
from dualdub_jax.dubbing.project_state import ProjectState
from dualdub_jax.dubbing.protocol import DubbingEngine, WindowRequest
from dualdub_jax.text.tokenizer import reads_case

_SEED_STEP = 1_000_003  # between the seeds of consecutive windows
Tokens = Mapping[Stream, np.ndarray]
Asked = Generator[WindowRequest, Tokens, dict[Stream, np.ndarray]]


class FilmTokens:
    """The tokens of one take of a planned project.

    Attributes:
        tokens: int32[num_frames, Q] by stream in use, filled window by window.
    """

    def __init__(
        self,
        project: ProjectState,
        engine: DubbingEngine,
        listeners: Listeners,
        seed: int,
        sampling: SamplingConfig,
        tokens: Tokens | None = None,
    ) -> None:
        """Begins a take.

        Args:
            project: its plan, voices and streams.
            engine: the model.
            listeners: find out whether the words of a window are spoken.
            seed: of the take.
            sampling: settings.
            tokens: of another take, of which regions are sampled anew; None: none.
        """
        self._project, self._engine, self._listeners = project, engine, listeners
        self._seed, self._sampling = seed, sampling
        self.tokens = {name: track.copy() for name, track in (tokens or {}).items()}

    def seed_of(self, index: int) -> int:
        """The seed of a window."""
        return (self._seed + index * _SEED_STEP) % 2**31

    def ask(
        self,
        index: int,
        video: Mapping[str, np.ndarray],
        acoustics: Acoustics | None,
        span: tuple[int, int] | None = None,
    ) -> Asked:
        """Asks for the tokens of a window, or of some of its frames, and fills them in.

        Args:
            index: of the window.
            video: of the window, by row.
            acoustics: of its scene.
            span: frames [first, end) of the film, inside the window's new frames; the tokens of the others
                are kept. None: all new frames.

        Yields:
            Arguments of `engine.generate`; receives its result.

        Returns:
            Tokens of the window's new frames, int32[num_new, Q] by stream.
        """
        project, engine = self._project, self._engine
        window, has_speech = project.windows[index], "speech" in project.used
        first, end = span or (window.start_frame, window.end_frame)
        request = WindowRequest(
            video=video,
            script=(window.written if reads_case(engine.tokenizer) else window.text) if has_speech else "",
            voice=project.voices[window.speaker] if has_speech else None,
            acoustics=acoustics,
            use_speech=has_speech,
            use_background="background" in project.used,
            context=self._context(index, first, acoustics),
            seed=self.seed_of(index),
            sampling=self._sampling,
            speech_span=window.speech_span if has_speech else None,
        )
        made = self._merged(index, end, (yield request))
        is_free = bool(window.text) and window.due is None
        if is_free and not self._listeners.of(window.speaker, acoustics).is_spoken(
            window.text, made["speech"]
        ):
            # Nothing on screen speaks the words: they are spoken anyway.
            driven = (window.num_context, window.num_context + window.num_new)
            made = self._merged(index, end, (yield WindowRequest(**(request | {"speech_span": driven}))))
        self.fill(index, made)
        return made

    def fill(self, index: int, made: Tokens) -> None:
        """Fills in the tokens of a window's new frames."""
        window = self._project.windows[index]
        for name, track in made.items():
            film = self.tokens.setdefault(
                name, np.zeros((self._project.num_frames, track.shape[1]), np.int32)
            )
            film[window.start_frame : window.end_frame] = track

    def _context(self, index: int, end: int, acoustics: Acoustics | None) -> dict[Stream, np.ndarray]:
        """The tokens of a window before frame `end`; silence where another voice speaks before it."""
        project, window = self._project, self._project.windows[index]
        if end == window.first_frame:
            return {}
        context = {name: self.tokens[name][window.first_frame : end] for name in project.used}
        is_other = spoken_by_others(project.windows, index)
        if "speech" in context and is_other.any():
            context["speech"] = context["speech"].copy()
            silence = self._engine.silence(window.num_context, acoustics)
            context["speech"][: window.num_context][is_other] = silence[is_other]
        return context

    def _merged(self, index: int, end: int, new: Tokens) -> dict[Stream, np.ndarray]:
        """The answer for a window's new frames, with the tokens that are kept from frame `end` on."""
        window = self._project.windows[index]
        made = {name: np.array(new[name])[window.num_context :] for name in self._project.used}
        if end < window.end_frame:
            for name, track in made.items():
                track[end - window.start_frame :] = self.tokens[name][end : window.end_frame]
        return made
