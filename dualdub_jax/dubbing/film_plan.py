"""The plan of a film: shots -> borders and scenes -> windows, with the rates and lengths of the tracks."""

from collections.abc import Sequence

from dualdub_jax.config.streams import STREAMS
from dualdub_jax.dubbing.progress import Advance
from dualdub_jax.dubbing.project_state import ProjectState
from dualdub_jax.dubbing.protocol import DubbingEngine
from dualdub_jax.dubbing.scenes import assign_scenes, find_scenes, read_film_shots, shot_frames
from dualdub_jax.dubbing.window import Window
from dualdub_jax.dubbing.windows import plan_windows
from dualdub_jax.text.tokenizer import reads_case
from dualdub_jax.text.words import Word, join_words

_MAX_ORIGINAL_RATE_HZ = 48_000


def plan_film(project: ProjectState, engine: DubbingEngine, advance: Advance) -> None:
    """Sets what `ProjectState` calls the plan of a project, and its utterances.

    Args:
        project: after `Project.read`.
        engine: the model.
        advance: progress.

    Raises:
        UserError: the script is too long for the film.
    """
    _plan_tracks(project, engine)
    project.windows = _plan_windows(project, engine, advance)
    project.utterances = project.find_utterances()


def _plan_tracks(project: ProjectState, engine: DubbingEngine) -> None:
    grid, film, originals = engine.config.grid, project.film, project.original_sounds
    project.decoder_kinds = engine.decoder_kinds
    project.decoder_rates_hz = {stream: engine.sample_rate_hz(stream) for stream in STREAMS}
    rates_hz = set(project.decoder_rates_hz.values())
    # The mix has the highest rate and the most channels of its parts.
    original_hz = [min(sound.sample_rate_hz, _MAX_ORIGINAL_RATE_HZ) for sound in originals]
    project.sample_rate_hz = max([*rates_hz, *original_hz])
    project.num_channels = max(
        [engine.num_channels(stream) for stream in project.used] + [sound.num_channels for sound in originals]
    )
    project.num_samples = film.num_samples(project.sample_rate_hz)
    project.frame_rate = grid.frame_rate
    # Enough for every track to reach the film's end.
    project.num_frames = max(
        film.num_frames(grid.frame_rate, rate_hz) for rate_hz in rates_hz | {grid.sample_rate_hz}
    )


def _plan_windows(project: ProjectState, engine: DubbingEngine, advance: Advance) -> tuple[Window, ...]:
    grid, film, frame_rate = engine.config.grid, project.film, project.frame_rate

    def count_tokens(words: Sequence[Word]) -> int:
        return len(engine.tokenizer.encode(join_words(words, written=reads_case(engine.tokenizer))))

    # A film of one window has neither borders nor scenes.
    shots = read_film_shots(film, advance) if project.num_frames > grid.num_frames else ()
    windows = plan_windows(
        project.num_frames,
        project.spoken_script,
        grid,
        count_tokens,
        project.request.fastest_rate,
        shot_frames(shots, frame_rate),
    )
    return tuple(assign_scenes(windows, find_scenes(shots, film.duration_s), frame_rate))
