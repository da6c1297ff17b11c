"""A project: one film from its request to its finished tracks, on disk, as in an audio workstation.

    read -> plan -> generate -> decode -> mix          (delivery.py writes what the user gets)

Each stage uses the results of those before it. Everything streams: frames are decoded as the windows need
them, decoded tracks go to disk, and the mix is made in blocks, so that nothing but the tokens grows with the
film. The folder holds

    project.json            request, film, cues with their speakers, windows, takes, gains, warnings
    takes/take_001.npz      tokens, seed, settings
    tracks/speech.wav       16-bit, exactly as long as the film; likewise background.wav, original.wav if
                            sound is kept, and mix.wav
"""

import contextlib
import dataclasses
import functools
import json
import pathlib
import shutil
import tempfile
import weakref
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from dualdub_jax.config import GridConfig
from dualdub_jax.config.streams import STREAMS, Stream
from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.dubbing.casting import NOBODY, assign_voices, check_cast, read_voices, spoken_by_others
from dualdub_jax.dubbing.ducking import Ducking
from dualdub_jax.dubbing.mixdown import MIX, Mixdown
from dualdub_jax.dubbing.passages import check_rates, find_passages
from dualdub_jax.dubbing.progress import Advance, Progress
from dualdub_jax.dubbing.protocol import DubbingEngine, WindowRequest
from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.dubbing.segmented_decoder import Segment, open_segments
from dualdub_jax.dubbing.speech_check import Listener, SpokenUtterance, find_speech
from dualdub_jax.dubbing.speech_gate import SpeechGate
from dualdub_jax.dubbing.stems import ORIGINAL, Stems
from dualdub_jax.dubbing.take import Take
from dualdub_jax.dubbing.track_decoder import decode_track
from dualdub_jax.dubbing.utterances import Utterance, find_utterances, rate_warning
from dualdub_jax.dubbing.window import Window
from dualdub_jax.dubbing.window_frames import WindowFrames
from dualdub_jax.dubbing.windows import plan_windows
from dualdub_jax.errors import UserError
from dualdub_jax.media import leftovers
from dualdub_jax.media.film import Film, FilmReader
from dualdub_jax.media.original_sound import OriginalSound, OriginalTrack, find_sounds
from dualdub_jax.media.outputs import explain_errors
from dualdub_jax.media.rehearsal import check_container
from dualdub_jax.media.track import FloatFile, Track, WavWriter
from dualdub_jax.stores.path import as_local_path
from dualdub_jax.text.script import Script, read_script
from dualdub_jax.text.tokenizer import reads_case
from dualdub_jax.text.words import Word, join_words

MAX_ORIGINAL_RATE_HZ = 48_000
_SEED_STEP = 1_000_003  # between the seeds of consecutive windows


class Project:
    """The state of one job. A context manager: leaving it closes the film and removes a temporary folder.

    A folder that the user names is kept once the tracks are done, and removed if they are not.

    Attributes:
        request: inputs and settings.
        folder: where everything lies; named by the user, or temporary.
        progress: measures the steps.
        film, script: after `read`, like `used`: the streams that are generated; the others are silent.
        original_sounds: to be kept beside them, after `read`.
        num_kept: how many of the film's own streams of sound are among them: its main one, or none.
        checkpoint, frame_rate, windows, num_frames, sample_rate_hz, num_channels, num_samples: the plan; like
            all below after `dub`.
        decoder_kinds: by stream, the kind of its waveform decoder.
        take: tokens and their settings.
        strip: uint8[N, height, width, 3], thumbnails of the film.
        utterances: what is due in the speech track, and when; empty without speech.
        mixdown: gains of the stems and of the mix, see there.
        spoken: the utterances, and when each is audible.
        tracks: the finished tracks by name: "speech", "background", "original" if sound is kept, "mix".
        losses: what the output does not keep of the film, one sentence each; once the output is known.

    Example:
        with Project(DubRequest("film.mp4", script="lay blue at e nine soon")) as project:
            project.read()
            project.dub(model.engine, model.checkpoint)
            deliver(project, Targets.make("dubbed.mp4"))
    """

    film: Film
    script: Script
    checkpoint: pathlib.Path
    frame_rate: Fraction
    windows: tuple[Window, ...]
    num_frames: int
    sample_rate_hz: int
    num_channels: int
    decoder_kinds: Mapping[Stream, str]
    num_samples: int
    used: tuple[Stream, ...]
    original_sounds: list[OriginalSound]
    num_kept: int
    take: Take
    strip: np.ndarray
    utterances: tuple[Utterance, ...] = ()
    mixdown: Mixdown
    spoken: tuple[SpokenUtterance, ...] = ()
    tracks: dict[str, Track]

    def __init__(
        self,
        request: DubRequest,
        folder: pathlib.Path | str | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Makes the folder.

        Args:
            request: inputs and settings.
            folder: a new or empty folder for the project; None: a temporary one.
            progress: measures the steps; None: in silence.

        Raises:
            UserError: the request cannot be met, or the folder is in use or cannot be made.
        """
        request.check()
        self.request, self.progress = request, progress or Progress()
        self.losses: list[str] = []
        self._sound_warnings: list[str] = []
        self._is_temporary = folder is None
        self._reader: FilmReader | None = None
        self._voices: Mapping[str, np.ndarray | None] = {}  # by speaker, after `plan`
        self._cast_warnings: list[str] = []
        self._listeners: dict[tuple[str, Acoustics | None], Listener] = {}
        self.folder = _make_folder(folder)
        leftovers.add(self.folder)
        # Called by `close`, or when an unclosed project or the process ends.
        self._remove = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def __enter__(self) -> "Project":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the film; removes the folder if it is temporary or the job is not done."""
        if self._reader is not None:
            self._reader.close()
        self._remove()  # does nothing once it is detached
        leftovers.discard(self.folder)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Defects of inputs and speech, and losses of the output, that the user should know of: sentences."""
        found = (spoken.warning for spoken in self.spoken)
        speech = (f"{self.script.source}: {warning}" for warning in found if warning)
        rates = rate_warning(self.script.source, self.utterances)
        script = (*self.script.warnings, *self._cast_warnings, *rates)
        return (*self.film.warnings, *self.losses, *script, *self._sound_warnings, *speech)

    @property
    def realtime_factor(self) -> float:
        """Seconds of film per second of generation and decoding."""
        seconds = self.progress.seconds
        return float(self.film.duration_s) / (seconds["generate"] + seconds["decode"])

    def read(self, out: pathlib.Path | str | None = None) -> None:
        """Opens the film and reads the script: all that can be found wrong without a model.

        Args:
            out: where the film will be written, if already known: a container that cannot hold the video is
                then an error before the work and not after it.

        Raises:
            UserError: the film, the script or a voice cannot be used, a speaker has no voice, or a cue has
                more text than can be spoken.
        """
        request = self.request
        with self.progress.step("read video"):
            self._reader = FilmReader(request.video)
            self.film = self._reader.film
            self.original_sounds = find_sounds(request.mix.keep_original, self.film)
            self.num_kept = sum(sound.of_film for sound in self.original_sounds)
            if out is not None:
                self.losses = check_container(self.film, pathlib.Path(out), self.num_kept).losses
            self.script = read_script(
                request.script,
                self.film.duration_s,
                request.allow_overrun,
                self.film.rate_hz,
                tuple(request.voices),
            )
            self._cast_warnings = check_cast(self.script, request.voices, request.voice is not None)
            read_voices(request.voice, request.voices, GridConfig())  # the model's own grid is not known yet
        # A script without words leaves nothing to the model: the track is silent, not nearly so.
        wanted = {"speech": request.use_speech and bool(self.script.words)}
        wanted["background"] = request.use_background
        self.used = tuple(stream for stream in STREAMS if wanted[stream])
        if wanted["speech"]:
            passages = find_passages(assign_voices(self.script, request.voices))
            check_rates(self.script.source, passages, request.fastest_rate, request.strict)
        if not self.used:
            raise UserError(
                f"{request.video}: nothing to generate, for there is no speech and the background is "
                "switched off; give a script or leave the background on"
            )

    def dub(self, engine: DubbingEngine, checkpoint: pathlib.Path) -> None:
        """Takes the project from its inputs to its tracks.

        Args:
            engine: the model.
            checkpoint: its folder, for the record.

        Raises:
            UserError: an input does not fit the model: a script too long for the film, an unusable voice,
                acoustics for a model without that condition. Or nothing of the script is audible, unless the
                request allows it.
        """
        with self.progress.step("read inputs"):
            self.plan(engine, checkpoint)
        with (
            self.progress.step("generate") as advance,
            contextlib.closing(self.window_requests(engine, advance)) as requests,
        ):
            request = next(requests, None)
            while request is not None:
                try:
                    request = requests.send(engine.generate(**request))
                except StopIteration:
                    break
        self.finish(engine)

    def finish(self, engine: DubbingEngine) -> None:
        """The last stages: decodes and mixes the tracks of `take`, checks the speech, saves the project.

        Raises:
            UserError: nothing of the script is audible, unless the request allows it.
        """
        with self.progress.step("decode") as advance, self._decoded_files() as files:
            self._decode(engine, files, advance)
            self._write_stems(files)
            self._check_speech(engine)
            self._mix()
        self._save()
        if not self._is_temporary:
            self._remove.detach()
            leftovers.discard(self.folder)

    def plan(self, engine: DubbingEngine, checkpoint: pathlib.Path) -> None:
        """Reads the reference recordings, plans windows and tracks.

        Raises:
            UserError: an unusable voice, or a script too long for the film.
        """
        grid, request, film = engine.config.grid, self.request, self.film
        self._voices = read_voices(request.voice, request.voices, grid)
        self.checkpoint, self.frame_rate = checkpoint, grid.frame_rate
        rates_hz = {engine.sample_rate_hz(stream) for stream in STREAMS}
        # The mix has the highest rate and the most channels of its parts.
        original_hz = [min(sound.sample_rate_hz, MAX_ORIGINAL_RATE_HZ) for sound in self.original_sounds]
        original_channels = [sound.num_channels for sound in self.original_sounds]
        self.sample_rate_hz = max([*rates_hz, *original_hz])
        self.num_channels = max([engine.num_channels(stream) for stream in self.used] + original_channels)
        self.decoder_kinds = engine.decoder_kinds
        self.num_samples = film.num_samples(self.sample_rate_hz)
        # Enough for every track to reach the film's end.
        self.num_frames = max(
            film.num_frames(grid.frame_rate, rate_hz) for rate_hz in rates_hz | {grid.sample_rate_hz}
        )

        def count_tokens(words: Sequence[Word]) -> int:
            return len(engine.tokenizer.encode(join_words(words, written=reads_case(engine.tokenizer))))

        # Words that are not generated need no time.
        is_spoken = "speech" in self.used
        script = assign_voices(self.script, request.voices) if is_spoken else Script(self.script.source)
        self.windows = tuple(plan_windows(self.num_frames, script, grid, count_tokens, request.fastest_rate))
        self.utterances = (
            tuple(passage.utterance for passage in find_passages(script))
            if script.cues
            else find_utterances(self.windows, grid.frame_rate)
        )

    def window_requests(
        self, engine: DubbingEngine, advance: Advance
    ) -> Generator[WindowRequest, Mapping[Stream, np.ndarray], None]:
        """Asks for the tokens of the windows one by one; at its end, `take` is made and saved.

        A window needs the tokens of the one before it, so that a film asks for one at a time. Whoever drives
        the generator answers with what `engine.generate(**request)` returns, alone or in a batch with the
        windows of other films.

        Args:
            engine: samples the acoustics, and decodes what is needed to plan on.
            advance: progress.

        Yields:
            Arguments of `engine.generate`; receives its result.

        Raises:
            UserError: acoustics are requested of a model without that condition.
        """
        has_speech, is_written = "speech" in self.used, reads_case(engine.tokenizer)
        sampling = self.request.sampling_with(engine.config.sampling)
        frames = WindowFrames(self._reader, engine, self.num_frames)
        tokens: dict[Stream, np.ndarray] = {}  # int32[num_frames, Q], filled window by window
        acoustics: list[Acoustics | None] = []  # by scene
        for index, window in enumerate(self.windows):
            video = frames.take(window.first_frame, window.end_frame)
            seed = (self.request.seed + index * _SEED_STEP) % 2**31
            if window.scene == len(acoustics):
                acoustics.append(self._choose_acoustics(engine.sample_acoustics(video, seed)))
            request = WindowRequest(
                video=video,
                script=(window.written if is_written else window.text) if has_speech else "",
                voice=self._voices[window.speaker] if has_speech else None,
                acoustics=acoustics[window.scene],
                use_speech=has_speech,
                use_background="background" in self.used,
                context=self._context(engine, index, tokens, acoustics[window.scene]),
                seed=seed,
                sampling=sampling,
                speech_span=window.speech_span if has_speech else None,
            )
            new = yield request
            if window.text and window.due is None:
                made = np.asarray(new["speech"])[window.num_context :]
                listener = self._listener(engine, window.speaker, acoustics[window.scene])
                if not listener.is_spoken(window.text, made):
                    # Nothing on screen speaks the words: they are spoken anyway.
                    span = (window.num_context, window.num_context + window.num_new)
                    new = yield WindowRequest(**(request | {"speech_span": span}))
            for name in self.used:
                made = np.asarray(new[name])[window.num_context :]
                track = tokens.setdefault(name, np.zeros((self.num_frames, made.shape[1]), np.int32))
                track[window.start_frame : window.end_frame] = made
            advance((index + 1) / len(self.windows))
        self.film, self.strip = self._reader.finish()
        self._reader.close()
        self.take = Take(tokens, self.request.seed, sampling, tuple(acoustics), self.checkpoint)
        path = self.folder / "takes" / "take_001.npz"
        with explain_errors(path):
            path.parent.mkdir()
            self.take.save(path)

    def _context(
        self,
        engine: DubbingEngine,
        index: int,
        tokens: Mapping[Stream, np.ndarray],
        acoustics: Acoustics | None,
    ) -> dict[Stream, np.ndarray]:
        """The tokens before a window, int32[K, Q] by stream; silence where another voice speaks."""
        window = self.windows[index]
        if not window.num_context:
            return {}
        context = {name: tokens[name][window.first_frame : window.start_frame] for name in self.used}
        is_other = spoken_by_others(self.windows, index)
        if "speech" in context and is_other.any():
            silence = engine.silence(window.num_context, acoustics)
            context["speech"] = np.where(is_other[:, None], silence, context["speech"])
        return context

    def _listener(self, engine: DubbingEngine, speaker: str, acoustics: Acoustics | None) -> Listener:
        """Tells speech of a voice in a room from silence."""
        key = speaker, acoustics
        if key not in self._listeners:
            self._listeners[key] = Listener(engine, self._voices[speaker], acoustics)
        return self._listeners[key]

    def _choose_acoustics(self, sampled: Acoustics | None) -> Acoustics | None:
        """Requested acoustics, completed by those that the model sampled, once per scene."""
        asked = self.request.acoustics
        if sampled is None and asked:
            raise UserError(
                f"{', '.join(asked)}: the model of {self.checkpoint} is not conditioned on acoustics "
                "(model.num_acoustics_bins is 0); leave it out, or take a checkpoint that is"
            )
        return sampled and sampled._replace(**asked)

    @contextlib.contextmanager
    def _decoded_files(self) -> Iterator[dict[str, FloatFile]]:
        """Files for the decoded tracks, which are removed once the stems are written."""
        names = [*self.used, *([ORIGINAL] if self.original_sounds else [])]
        files = {name: FloatFile(self.folder / f"{name}.decoded", self.num_channels) for name in names}
        try:
            yield files
        finally:
            for file in files.values():
                file.path.unlink(missing_ok=True)

    def _decode(
        self,
        engine: DubbingEngine,
        files: Mapping[str, FloatFile],
        advance: Advance,
    ) -> None:
        for index, (name, file) in enumerate(files.items()):
            if name == ORIGINAL:
                self._read_original(file)
                continue
            decoder = open_segments(self._segments(engine, name), engine.config.grid.frame_rate)
            blocks = decode_track(
                decoder, self.take.tokens[name], self.sample_rate_hz, self.num_samples, self.num_channels
            )
            if name == "speech":
                blocks = SpeechGate(self.utterances, self.sample_rate_hz, self.num_samples).apply(blocks)
            with explain_errors(file.path):
                file.write(blocks)
            advance((index + 1) / len(files))

    def _segments(self, engine: DubbingEngine, stream: Stream) -> list[Segment]:
        """Stretches of a track with one voice and one acoustics."""
        segments, before = [], None
        for window in self.windows:
            speaker = window.speaker if stream == "speech" else NOBODY
            conditions = speaker, self.take.acoustics[window.scene]
            if conditions != before:
                opened = functools.partial(engine.open_decoder, stream, self._voices[speaker], conditions[1])
                segments.append(Segment(window.start_frame, opened))
            before = conditions
        return segments

    def _read_original(self, file: FloatFile) -> None:
        track = OriginalTrack(self.original_sounds, self.film, self.sample_rate_hz, self.num_channels)
        with explain_errors(file.path):
            file.write(track.blocks())
        self._sound_warnings += track.warnings

    def _write_stems(self, files: Mapping[str, FloatFile]) -> None:
        names = dict.fromkeys((*STREAMS, *files))
        stems = Stems.measure({name: files.get(name) for name in names}, self.num_samples, self.num_channels)
        self._stem_gain = stems.gain
        self.tracks = self._write_tracks([*names], stems.blocks())

    def _mix(self) -> None:
        """Mixes the stems; the ducking needs to know when speech is audible in them."""
        settings = self.request.mix
        spans_s = [spoken.span_s for spoken in self.spoken if spoken.span_s is not None]
        ducking = Ducking.under(spans_s, settings.duck)
        self.mixdown = Mixdown.measure(self.tracks, self.sample_rate_hz, settings, ducking, self._stem_gain)
        self._sound_warnings += self.mixdown.warnings
        mixes = ({MIX: block} for block in self.mixdown.blocks())
        self.tracks |= self._write_tracks([MIX], mixes)

    def _write_tracks(
        self, names: Sequence[str], blocks: Iterable[Mapping[str, np.ndarray]]
    ) -> dict[str, Track]:
        """Writes `tracks/NAME.wav` of each name, side by side."""
        folder = self.folder / "tracks"
        paths = {name: folder / f"{name}.wav" for name in names}
        with contextlib.ExitStack() as stack:
            stack.enter_context(explain_errors(next(iter(paths.values()))))
            folder.mkdir(exist_ok=True)
            writers = {
                name: stack.enter_context(WavWriter(path, self.sample_rate_hz, self.num_channels))
                for name, path in paths.items()
            }
            for named in blocks:
                for name, block in named.items():
                    writers[name].write(block)
        return {name: Track(path) for name, path in paths.items()}

    def _check_speech(self, engine: DubbingEngine) -> None:
        """Measures when each utterance is audible in the finished track."""
        if "speech" not in self.used:
            return
        listeners = [self._listeners_of(engine, utterance) for utterance in self.utterances]
        thresholds_dbfs = [max(heard.threshold_dbfs for heard in several) for several in listeners]
        track = self.tracks["speech"]
        self.spoken = find_speech(track, track.sample_rate_hz, self.utterances, thresholds_dbfs)
        is_silent = all(spoken.span_s is None for spoken in self.spoken)
        can_tell = all(listener.can_tell for several in listeners for listener in several)
        if is_silent and self.request.must_speak and can_tell:
            raise UserError(
                f"{self.script.source}: nothing of the script is audible: no speech is louder than "
                f"{max(thresholds_dbfs):.0f} dBFS where it is due; choose another --seed, a video "
                "in which the speaker's mouth is visible, or a checkpoint trained on speech; "
                "--allow-inaudible writes the files all the same"
            )

    def _listeners_of(self, engine: DubbingEngine, utterance: Utterance) -> list[Listener]:
        """Those of the windows in which an utterance is spoken."""
        first, end = (
            time_s * engine.config.grid.frame_rate for time_s in (utterance.start_s, utterance.end_s)
        )
        return [
            self._listener(engine, window.speaker, self.take.acoustics[window.scene])
            for window in self.windows
            if window.text and window.start_frame < end and window.end_frame > first
        ]

    def _save(self) -> None:
        """Writes `project.json`."""
        path = self.folder / "project.json"
        with explain_errors(path):
            path.write_text(json.dumps(self._describe(), indent=2, default=str), encoding="utf-8")

    def _describe(self) -> dict[str, Any]:
        cues = [
            {
                "start_s": float(cue.start_s),
                "end_s": float(cue.end_s),
                "text": " ".join(word.text for word in cue.words),
                "speaker": cue.speaker,
            }
            for cue in self.script.cues
        ]
        return {
            "request": dataclasses.asdict(self.request),
            "film": dataclasses.asdict(self.film) | {"duration_s": float(self.film.duration_s)},
            "script": self.script.text,
            "cues": cues,
            "unspoken": dict(self.script.unspoken),
            "windows": [dataclasses.asdict(window) for window in self.windows],
            "speech": [spoken.describe() for spoken in self.spoken],
            "takes": [{"file": "takes/take_001.npz", **self.take.settings()}],
            "tracks": {
                "sample_rate_hz": self.sample_rate_hz,
                "num_channels": self.num_channels,
                "decoders": dict(self.decoder_kinds),
                "num_samples": self.num_samples,
                "used": list(self.used),
                **self.mixdown.describe(),
            },
            "warnings": list(self.warnings),
        }


def _make_folder(folder: pathlib.Path | str | None) -> pathlib.Path:
    if folder is None:
        return pathlib.Path(tempfile.mkdtemp(prefix="dualdub-"))
    folder = as_local_path(folder)
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder}: is in use; give a new or an empty folder for the project")
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be made ({error.strerror}); choose another place for the project"
        ) from None
    return folder
