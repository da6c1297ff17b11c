"""The tracks of a take: its tokens decoded, cut to stems, searched for speech, and mixed, on disk.

    tokens -> decoded tracks -> stems -> when each utterance is audible -> mix

Decoded tracks go to files, for the gain of the stems depends on the whole film; all else is done in blocks.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from dualdub_jax.config.streams import STREAMS
from dualdub_jax.dubbing.ducking import Ducking
from dualdub_jax.dubbing.listeners import Listeners
from dualdub_jax.dubbing.mixdown import MIX, Mixdown
from dualdub_jax.dubbing.progress import Advance
from dualdub_jax.dubbing.project_state import ProjectState
from dualdub_jax.dubbing.protocol import DubbingEngine
from dualdub_jax.dubbing.segmented_decoder import open_segments
from dualdub_jax.dubbing.speech_check import find_speech
from dualdub_jax.dubbing.speech_gate import SpeechGate
from dualdub_jax.dubbing.stems import ORIGINAL, Stems
from dualdub_jax.dubbing.track_decoder import decode_track
from dualdub_jax.media import leftovers
from dualdub_jax.media.original_sound import OriginalTrack
from dualdub_jax.media.outputs import explain_errors
from dualdub_jax.media.track import FloatFile, Track, WavWriter


def make_tracks(
    project: ProjectState, engine: DubbingEngine, listeners: Listeners, number: int, advance: Advance
) -> float | None:
    """Makes the tracks of `project.take`; sets `tracks`, `spoken`, `mixdown` and `sound_warnings`.

    Args:
        project: with a plan and a take.
        engine: decodes.
        listeners: detect speech.
        number: of the take.
        advance: progress.

    Returns:
        The highest level that counts as speech, dBFS; None without speech.

    Raises:
        UserError: a file cannot be written.
    """
    project.sound_warnings = []
    with decoded_files(project) as files:
        decode(project, engine, files, advance)
        names = dict.fromkeys((*STREAMS, *files))
        stems = Stems.measure(
            {name: files.get(name) for name in names}, project.num_samples, project.num_channels
        )
        project.tracks = _write(project, number, [*names], stems.blocks())
        threshold_dbfs = _find_speech(project, listeners)
        _mix(project, number, stems.gain)
    return threshold_dbfs


@contextlib.contextmanager
def decoded_files(project: ProjectState) -> Iterator[dict[str, FloatFile]]:
    """Files for the decoded tracks and the kept sound, which are removed at the end."""
    names = [*project.used, *([ORIGINAL] if project.original_sounds else [])]
    files = {name: FloatFile(project.layout.decoded(name), project.num_channels) for name in names}
    try:
        for file in files.values():
            leftovers.add(file.path)
        yield files
    finally:
        for file in files.values():
            file.path.unlink(missing_ok=True)
            leftovers.discard(file.path)


def decode(
    project: ProjectState, engine: DubbingEngine, files: Mapping[str, FloatFile], advance: Advance
) -> None:
    """Writes the decoded tracks of `project.take`, and the kept sound.

    Raises:
        UserError: a file cannot be written.
    """
    for index, (name, file) in enumerate(files.items()):
        with explain_errors(file.path):
            if name == ORIGINAL:
                original = OriginalTrack(
                    project.original_sounds, project.film, project.sample_rate_hz, project.num_channels
                )
                file.write(original.blocks())
                project.sound_warnings += original.warnings
            else:
                file.write(_decoded_blocks(project, engine, name))
        advance((index + 1) / len(files))


def _decoded_blocks(project: ProjectState, engine: DubbingEngine, name: str) -> Iterator[np.ndarray]:
    decoder = open_segments(project.segments(engine, name, project.take), project.frame_rate)
    tokens, rate_hz, num_samples = project.take.tokens[name], project.sample_rate_hz, project.num_samples
    blocks = decode_track(decoder, tokens, rate_hz, num_samples, project.num_channels)
    if name == "speech":
        blocks = SpeechGate(project.utterances, rate_hz, num_samples).apply(blocks)
    return blocks


def _find_speech(project: ProjectState, listeners: Listeners) -> float | None:
    """Measures when each utterance is audible in the finished track."""
    if "speech" not in project.used:
        return None
    thresholds_dbfs = listeners.thresholds_dbfs(
        project.utterances, project.windows, project.take.acoustics, project.frame_rate
    )
    track = project.tracks["speech"]
    project.spoken = find_speech(track, track.sample_rate_hz, project.utterances, thresholds_dbfs)
    return max(thresholds_dbfs)


def _mix(project: ProjectState, number: int, stem_gain: float) -> None:
    """Mixes the stems; the ducking needs to know when speech is audible in them."""
    settings = project.request.mix
    spans_s = [spoken.span_s for spoken in project.spoken if spoken.span_s is not None]
    ducking = Ducking.under(spans_s, settings.duck)
    project.mixdown = Mixdown.measure(project.tracks, project.sample_rate_hz, settings, ducking, stem_gain)
    mixes = ({MIX: block} for block in project.mixdown.blocks())
    project.tracks = project.tracks | _write(project, number, [MIX], mixes)


def _write(
    project: ProjectState, number: int, names: Sequence[str], blocks: Iterable[Mapping[str, np.ndarray]]
) -> dict[str, Track]:
    """Writes the file of each name, side by side."""
    paths = {name: project.layout.track(number, name) for name in names}
    with contextlib.ExitStack() as stack:
        stack.enter_context(explain_errors(next(iter(paths.values()))))
        project.layout.track(number, MIX).parent.mkdir(parents=True, exist_ok=True)
        writers = {
            name: stack.enter_context(WavWriter(path, project.sample_rate_hz, project.num_channels))
            for name, path in paths.items()
        }
        for named in blocks:
            for name, block in named.items():
                writers[name].write(block)
    return {name: Track(path) for name, path in paths.items()}
