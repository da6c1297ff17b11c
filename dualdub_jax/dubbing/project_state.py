"""What is known of a project: its request, plan and takes. The work itself is in project.py."""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from dualdub_jax.config.streams import STREAMS, Stream
from dualdub_jax.dubbing.casting import NOBODY, assign_voices
from dualdub_jax.dubbing.mix_warnings import mix_warnings
from dualdub_jax.dubbing.mixdown import MIX, Mixdown
from dualdub_jax.dubbing.passages import find_passages
from dualdub_jax.dubbing.progress import Progress
from dualdub_jax.dubbing.project_folder import ProjectFolder
from dualdub_jax.dubbing.protocol import DubbingEngine
from dualdub_jax.dubbing.region import find_region
from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.dubbing.segmented_decoder import Segment
from dualdub_jax.dubbing.speech_check import SpokenUtterance
from dualdub_jax.dubbing.stems import ORIGINAL
from dualdub_jax.dubbing.take import FinishedTake, Take
from dualdub_jax.dubbing.utterances import Utterance, find_utterances, rate_warning
from dualdub_jax.dubbing.window import Window
from dualdub_jax.errors import UserError
from dualdub_jax.media.film import Film
from dualdub_jax.media.original_sound import OriginalSound
from dualdub_jax.media.track import Track
from dualdub_jax.stores.digests import describe_folder
from dualdub_jax.stores.path import StorePath
from dualdub_jax.text.script import Script


def track_names(original_sounds: Sequence[OriginalSound]) -> list[str]:
    """The names of a project's tracks."""
    return [*STREAMS, *([ORIGINAL] if original_sounds else []), MIX]


class ProjectState:
    """The state of one job.

    Attributes:
        request: inputs and settings.
        folder: where everything is; named by the user, or temporary.
        layout: names of the files in it.
        progress: measures the steps.
        film, script: after `read`, like `used`: the streams that are generated; the others are silent.
        original_sounds: to be kept beside them, after `read`.
        inputs: digests of a kept project's files, by field of the request.
        checkpoint, windows, num_frames, frame_rate, sample_rate_hz, num_channels, num_samples: the plan;
            like all below after `dub`.
        checkpoint_record: path and digest of the checkpoint, for a kept project.
        decoder_kinds, decoder_rates_hz: by stream, the kind and the sample rate of its waveform decoder.
        takes: by number from 1, what is known of the takes that are done.
        chosen: number of the take that the attributes below belong to.
        take: its tokens and their settings.
        strip: uint8[N, height, width, 3], thumbnails of the film.
        utterances: what is due in the speech track, and when; empty without speech.
        mixdown: gains of the stems and of the mix, see there.
        spoken: the utterances, and when each is audible.
        tracks: the finished tracks by name: "speech", "background", "original" if sound is kept, "mix".
        sound_warnings: what befell kept sound, one sentence each.
        voices: reference recordings by speaker, float32[S]; None for a voice that the model samples.
        earlier_seconds: how long the steps took in other processes, before the project was resumed or opened.
        losses: what the output does not keep of the film, one sentence each; once the output is known.
    """

    film: Film
    script: Script
    inputs: Mapping[str, Mapping[str, Any]]
    checkpoint: pathlib.Path
    checkpoint_record: Mapping[str, Any]
    frame_rate: Fraction
    windows: tuple[Window, ...]
    num_frames: int
    sample_rate_hz: int
    num_channels: int
    decoder_kinds: Mapping[Stream, str]
    decoder_rates_hz: Mapping[Stream, int]
    num_samples: int
    used: tuple[Stream, ...]
    take: Take
    strip: np.ndarray
    utterances: tuple[Utterance, ...] = ()
    mixdown: Mixdown
    spoken: tuple[SpokenUtterance, ...] = ()
    tracks: Mapping[str, Track]
    original_sounds: list[OriginalSound]

    def __init__(self, request: DubRequest, layout: ProjectFolder, progress: Progress | None) -> None:
        """The state before any stage; arguments as the attributes."""
        self.request, self.layout, self.progress = request, layout, progress or Progress()
        self.folder = layout.path
        self.losses: list[str] = []
        self.takes: dict[int, FinishedTake] = {}
        self.chosen: int | None = None
        self.voices: Mapping[str, np.ndarray | None] = {}
        self.earlier_seconds: dict[str, float] = {}
        self.cast_warnings: list[str] = []
        self.sound_warnings: list[str] = []

    @property
    def num_kept(self) -> int:
        """How many of the film's own streams of sound are kept: its main one, or none."""
        return sum(sound.of_film for sound in self.original_sounds)

    @property
    def is_finished(self) -> bool:
        """Whether all takes of the request are done."""
        return all(number in self.takes for number in self.requested)

    @property
    def requested(self) -> range:
        """Numbers of the takes that the request asks for; retakes follow."""
        return range(1, self.request.takes + 1)

    def take_files(self, number: int) -> dict[str, pathlib.Path]:
        """The files of a take that is done: its tracks by name, and "tokens"."""
        tracks = {name: self.layout.track(number, name) for name in track_names(self.original_sounds)}
        return {"tokens": self.layout.take(number), **tracks}

    @property
    def warnings(self) -> tuple[str, ...]:
        """Defects of inputs and speech, and losses of the output, that the user should know of: sentences."""
        found = (spoken.warning for spoken in self.spoken)
        speech = (f"{self.script.source}: {warning}" for warning in found if warning)
        return (
            *self.film.warnings,
            *self.losses,
            *self.script.warnings,
            *self.cast_warnings,
            *rate_warning(self.script.source, self.utterances),
            *self.sound_warnings,
            *self._mix_warnings(),
            *speech,
        )

    def _mix_warnings(self) -> list[str]:
        if self.chosen not in self.takes:
            return []
        take = self.takes[self.chosen]
        return mix_warnings(self.request.mix, take.loudness, is_retake=take.parent is not None)

    @property
    def realtime_factor(self) -> float:
        """Seconds of film per second of generation and decoding."""
        seconds = self.seconds
        return float(self.film.duration_s) / (seconds["generate"] + seconds["decode"])

    @property
    def seconds(self) -> dict[str, float]:
        """How long each step took, in this process and in those before it."""
        names = dict.fromkeys((*self.earlier_seconds, *self.progress.seconds))
        parts = self.earlier_seconds, self.progress.seconds
        return {name: sum(part.get(name, 0.0) for part in parts) for name in names}

    @property
    def spoken_script(self) -> Script:
        """The script as far as it is generated, with the names of the cast.

        Words that are not generated need no time.
        """
        if "speech" in self.used:
            return assign_voices(self.script, self.request.voices)
        return Script(self.script.source)

    def find_utterances(self) -> tuple[Utterance, ...]:
        script = self.spoken_script
        if script.cues:
            return tuple(passage.utterance for passage in find_passages(script))
        return find_utterances(self.windows, self.frame_rate)

    def find_region(
        self, region: tuple[float, float] | None = None, cue: int | None = None
    ) -> tuple[Fraction, Fraction]:
        """The region of a retake, seconds; arguments and errors as of `retake`."""
        numbers = [item.number for item in self.script.cues] if "speech" in self.used else []
        return find_region(self.film.duration_s, self.utterances, max(numbers, default=0), region, cue)

    def check_checkpoint(self, checkpoint: StorePath) -> None:
        """Checks that a checkpoint is the one that a kept project was made with.

        Raises:
            UserError: it is another one.
        """
        if (
            not self.layout.is_temporary
            and describe_folder(checkpoint)["sha256"] != (self.checkpoint_record["sha256"])
        ):
            raise UserError(
                f"{self.folder}: was made with the checkpoint {self.checkpoint_record['path']}, and "
                f"{checkpoint} has another content; give the same one as --checkpoint"
            )

    def check_engine(self, engine: DubbingEngine) -> None:
        """Checks that an engine makes tracks like those of the project.

        Raises:
            UserError: it does not.
        """
        rates_hz = {stream: engine.sample_rate_hz(stream) for stream in STREAMS}
        grid, kinds = engine.config.grid, dict(engine.decoder_kinds)
        made = self.frame_rate, dict(self.decoder_rates_hz), dict(self.decoder_kinds)
        if (grid.frame_rate, rates_hz, kinds) != made:
            raise UserError(
                f"{self.folder}: was made with another model or other waveform decoders; give the same "
                "checkpoint and --decoder"
            )

    def segments(self, engine: DubbingEngine, stream: Stream, take: Take) -> list[Segment]:
        """Stretches of a track with one voice and one acoustics."""
        segments, before = [], None
        for window in self.windows:
            speaker = window.speaker if stream == "speech" else NOBODY
            conditions = speaker, take.acoustics[window.scene]
            if conditions != before:
                opened = functools.partial(engine.open_decoder, stream, self.voices[speaker], conditions[1])
                segments.append(Segment(window.start_frame, opened))
            before = conditions
        return segments
