"""The inputs of a project: film, script, cast and kept sound, and which streams they leave to the model."""

import pathlib

from dualdub_jax.config.streams import STREAMS
from dualdub_jax.dubbing.casting import check_cast
from dualdub_jax.dubbing.passages import check_rates, find_passages
from dualdub_jax.dubbing.project_state import ProjectState
from dualdub_jax.errors import UserError
from dualdub_jax.media.film import Film
from dualdub_jax.media.original_sound import find_sounds
from dualdub_jax.media.rehearsal import check_container
from dualdub_jax.text.script import read_script


def read_inputs(project: ProjectState, film: Film, out: pathlib.Path | None = None) -> None:
    """Sets the film, the script and the sounds to keep, and what is wrong with them.

    Args:
        project: its request names the files.
        film: that is open.
        out: where the film will be written, if already known.

    Raises:
        UserError: the script or a sound cannot be used, a speaker has no voice, or the container of `out`
            cannot hold the video.
    """
    request, project.film = project.request, film
    project.original_sounds = find_sounds(request.mix.keep_original, film)
    if out is not None:
        project.losses = check_container(film, out, project.num_kept).losses
    project.script = read_script(
        request.script, film.duration_s, request.allow_overrun, film.rate_hz, tuple(request.voices)
    )
    project.cast_warnings = check_cast(project.script, request.voices, request.voice is not None)


def find_used(project: ProjectState) -> None:
    """Sets the streams that are generated, after `read_inputs`.

    Raises:
        UserError: there are none, or a cue has more text than can be spoken.
    """
    request, script = project.request, project.script
    # A script without words leaves nothing to the model: the track is silent, not nearly so.
    wanted = {"speech": request.use_speech and bool(script.words), "background": request.use_background}
    project.used = tuple(stream for stream in STREAMS if wanted[stream])
    if wanted["speech"]:
        passages = find_passages(project.spoken_script)
        check_rates(script.source, passages, request.fastest_rate, request.strict)
    if not project.used:
        raise UserError(
            f"{request.video}: nothing to generate, for there is no speech and the background is switched "
            "off; give a script or leave the background on"
        )
