"""Generating a take: frames -> acoustics of each scene -> tokens of each window, which are kept one by one.

Windows that a project which is resumed has kept are not generated again: the film is decoded from its
beginning, and the frames on the way are not encoded.
"""

import dataclasses
import time
from collections.abc import Callable, Generator, Mapping

import numpy as np

from dualdub_jax.config.streams import Stream
from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.dubbing.film_tokens import FilmTokens
from dualdub_jax.dubbing.listeners import Listeners
from dualdub_jax.dubbing.progress import Advance
from dualdub_jax.dubbing.project_state import ProjectState
from dualdub_jax.dubbing.protocol import DubbingEngine, WindowRequest
from dualdub_jax.dubbing.take import Take
from dualdub_jax.dubbing.window_frames import WindowFrames
from dualdub_jax.dubbing.window_store import KeptWindow, WindowStore
from dualdub_jax.errors import UserError
from dualdub_jax.media.film import Film, FilmReader


@dataclasses.dataclass(frozen=True)
class Generated:
    """A take, and what is known of the film once all of it is decoded.

    Attributes:
        take: with the tokens of the whole film.
        film: with all damage counted.
        strip: thumbnails, uint8[N, height, width, 3].
        earlier_s: seconds that the windows took that were kept.
    """

    take: Take
    film: Film
    strip: np.ndarray
    earlier_s: float


def generate_take(
    project: ProjectState,
    engine: DubbingEngine,
    listeners: Listeners,
    number: int,
    reader: FilmReader,
    is_resumed: bool,
    on_kept: Callable[[], None],
    advance: Advance,
) -> Generator[WindowRequest, Mapping[Stream, np.ndarray], Generated]:
    """Asks for the tokens of the windows of one take.

    Args:
        project: planned.
        engine: samples the acoustics, and decodes what is needed to plan on.
        listeners: detect speech.
        number: of the take.
        reader: of the film, whose frames have not been read; it is closed at the end.
        is_resumed: take what is kept of this take.
        on_kept: called when a window is on the disk.
        advance: progress.

    Yields:
        Arguments of `engine.generate`; receives its result.

    Raises:
        UserError: acoustics are requested of a model without that condition; or a kept window is damaged.
    """
    seed = (project.request.seed + number - 1) % 2**31
    sampling = project.request.sampling_with(engine.config.sampling)
    frames = WindowFrames(reader, engine, project.num_frames)
    film = FilmTokens(project, engine, listeners, seed, sampling)
    store = WindowStore(project.layout, number)
    kept = store.load(project.windows, project.used) if is_resumed else []
    earlier_s = kept[-1].seconds if kept else 0.0
    begun_s = time.perf_counter() - earlier_s
    acoustics: list[Acoustics | None] = []  # by scene
    for index, window in enumerate(project.windows):
        if index < len(kept):
            film.fill(index, kept[index].tokens)
            if window.scene == len(acoustics):
                acoustics.append(kept[index].acoustics)
        else:
            video = frames.take(window.first_frame, window.end_frame)
            if window.scene == len(acoustics):
                shown = {row: rows[window.num_context :] for row, rows in video.items()}
                sampled = engine.sample_acoustics(shown, film.seed_of(index))
                acoustics.append(_choose_acoustics(project, sampled))
            made = yield from film.ask(index, video, acoustics[window.scene])
            if not project.layout.is_temporary:
                seconds = time.perf_counter() - begun_s
                store.save(index, KeptWindow(made, acoustics[window.scene], seconds))
                on_kept()
        advance((index + 1) / len(project.windows))
    decoded, strip = reader.finish()
    reader.close()
    take = Take(film.tokens, seed, sampling, tuple(acoustics), project.checkpoint)
    return Generated(take, decoded, strip, earlier_s)


def _choose_acoustics(project: ProjectState, sampled: Acoustics | None) -> Acoustics | None:
    """Requested acoustics, completed by those that the model sampled, once per scene."""
    asked = project.request.acoustics
    if sampled is None and asked:
        raise UserError(
            f"{', '.join(asked)}: the model of {project.checkpoint} is not conditioned on acoustics "
            "(model.num_acoustics_bins is 0); leave it out, or take a checkpoint that is"
        )
    return sampled and sampled._replace(**asked)
