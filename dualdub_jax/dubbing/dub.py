"""The way from a film to its soundtrack: read, plan, generate window by window, decode, mix."""

import pathlib
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from dualdub_jax.config import Config, SamplingConfig
from dualdub_jax.dsp.acoustics import ACOUSTICS_RANGES, Acoustics
from dualdub_jax.dubbing.mixdown import mix_down
from dualdub_jax.dubbing.progress import Advance, Progress
from dualdub_jax.dubbing.soundtrack import Soundtrack
from dualdub_jax.dubbing.windows import Window, plan_windows
from dualdub_jax.errors import UserError
from dualdub_jax.media.film import FilmReader
from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.media.mux import check_container
from dualdub_jax.media.sound_file import read_voice
from dualdub_jax.text.script import read_script
from dualdub_jax.text.tokenizer import Tokenizer
from dualdub_jax.types import STREAMS, Stream


class Engine(Protocol):
    """The model's side: see `dualdub_jax.dubbing.engine`."""

    config: Config
    tokenizer: Tokenizer

    def sample_acoustics(self, video: np.ndarray, seed: int) -> Acoustics | None:
        """A room that goes with uint8[T, size, size, 3]; None: the model is not told of rooms."""
        ...

    def generate(
        self,
        *,
        video: np.ndarray,
        script: str,
        voice: np.ndarray | None,
        acoustics: Acoustics | None = None,
        use_speech: bool,
        use_background: bool,
        context: Mapping[str, np.ndarray],
        seed: int,
        sampling: SamplingConfig,
    ) -> dict[str, np.ndarray]:
        """Tokens int32[T, Q] of the streams in use; the first frames are those of `context`."""
        ...

    def decode(
        self,
        stream: Stream,
        tokens: np.ndarray,
        voice: np.ndarray | None = None,
        acoustics: Acoustics | None = None,
    ) -> np.ndarray:
        """int32[T, Q] -> float32[T * samples_per_frame], speech in the voice of the reference."""
        ...


class DualDub:
    """A loaded model, ready to dub films. Made by `dualdub_jax.load`."""

    def __init__(self, engine: Engine, checkpoint: pathlib.Path) -> None:
        self.engine = engine
        self.checkpoint = checkpoint

    def dub(
        self,
        video: pathlib.Path | str,
        script: str = "",
        voice: pathlib.Path | str | None = None,
        *,
        use_speech: bool = True,
        use_background: bool = True,
        rt60_s: float | None = None,
        noise_dbfs: float | None = None,
        seed: int = 0,
        sampling: SamplingConfig | None = None,
        allow_overrun: bool = False,
        out: pathlib.Path | str | None = None,
        progress: Progress | None = None,
    ) -> Soundtrack:
        """Makes the soundtrack of a film.

        Args:
            video: any film, half a second or longer; its own sound is ignored.
            script: what is said, or the path of a `.txt`, `.srt` or `.vtt` file; empty: nothing.
            voice: a recording of the voice that speaks; None: a voice of the model's choice.
            use_speech: False: the speech track is all zeros and is not in the mix.
            use_background: likewise.
            rt60_s: reverberation time of the place, 0.05 to 3.2 s; None: the model's choice.
            noise_dbfs: level of the place's steady noise, -80 to -20 dBFS; likewise.
            seed: equal seeds and inputs give equal tracks.
            sampling: defaults to the checkpoint's.
            allow_overrun: cut cues at the video's end where they would be an error.
            out: where the film will be written, if already known: a container that cannot hold the video
                is then an error before the work and not after it.
            progress: is told of the steps.

        Raises:
            UserError: for every input that cannot be used, naming it.
        """
        progress = progress or Progress()
        requested_acoustics = _requested_acoustics(rt60_s, noise_dbfs)
        config = self.engine.config
        grid = config.grid
        with progress.step("read video") as advance:
            with FilmReader(video) as reader:
                if out is not None:
                    check_container(reader.film, reader.stream, pathlib.Path(out))
                num_frames = reader.film.num_frames(grid.frame_rate, grid.sample_rate_hz)
                blocks = reader.blocks(FrameSpec(grid.frame_rate, grid.frame_size), num_frames)
                frames = np.concatenate(list(blocks))
                film, strip = reader.finish()
            advance(1.0)
        with progress.step("read inputs"):
            text = read_script(script, film.duration_s, allow_overrun)
            reference = None if voice is None else read_voice(voice, grid)
            plan = plan_windows(
                len(frames), text, grid, lambda piece: len(self.engine.tokenizer.encode(piece))
            )
        # A script that says nothing leaves nothing to the model: the track is silent, not nearly so.
        has_speech = use_speech and bool(text.words)
        if not has_speech and not use_background:
            raise UserError(
                f"{video}: nothing to make, for there is no speech and the background is switched off; "
                "give a script or leave the background on"
            )
        used = {"speech": has_speech, "background": use_background}
        sampling = sampling or config.sampling
        with progress.step("generate") as advance:
            acoustics = self._room(frames, plan[0], seed, requested_acoustics)
            tokens = self._generate(frames, plan, reference, acoustics, used, seed, sampling, advance)
        with progress.step("decode"):
            decoded = {name: self.engine.decode(name, tokens[name], reference, acoustics) for name in tokens}
        return Soundtrack(
            film=film,
            strip=strip,
            num_frames=len(frames),
            script=text,
            windows=tuple(plan),
            tracks=mix_down(
                decoded.get("speech"), decoded.get("background"), film.num_samples(grid.sample_rate_hz)
            ),
            sample_rate_hz=grid.sample_rate_hz,
            voice=None if voice is None else pathlib.Path(voice),
            acoustics=acoustics,
            checkpoint=self.checkpoint,
            seed=seed,
            sampling=sampling,
            use_speech=has_speech,
            use_background=use_background,
            seconds=dict(progress.seconds),
            warnings=(*film.warnings, *text.warnings),
        )

    def _room(
        self, film: np.ndarray, window: Window, seed: int, asked: Mapping[str, float]
    ) -> Acoustics | None:
        """What is asked for, and for the rest the model's choice, the same in all of the film."""
        acoustics = self.engine.sample_acoustics(film[: window.end_frame], seed)
        if acoustics is None and asked:
            raise UserError(
                f"{', '.join(asked)}: the model of {self.checkpoint} is not told of rooms "
                "(model.num_acoustics_bins is 0); leave it out, or take a checkpoint that is"
            )
        return acoustics and acoustics._replace(**asked)

    def _generate(
        self,
        film: np.ndarray,
        plan: list[Window],
        voice: np.ndarray | None,
        acoustics: Acoustics | None,
        used: Mapping[Stream, bool],
        seed: int,
        sampling: SamplingConfig,
        advance: Advance,
    ) -> dict[Stream, np.ndarray]:
        """Tokens int32[T, Q] of the whole film for each stream in use."""
        names = [name for name in STREAMS if used[name]]
        made: dict[Stream, list[np.ndarray]] = {name: [] for name in names}
        for index, window in enumerate(plan):
            context = {
                name: np.concatenate(made[name])[-window.num_context :]
                for name in names
                if window.num_context
            }
            tokens = self.engine.generate(
                video=film[window.first_frame : window.end_frame],
                script=window.text if used["speech"] else "",
                voice=voice if used["speech"] else None,
                acoustics=acoustics,
                use_speech=used["speech"],
                use_background=used["background"],
                context=context,
                seed=(seed + index * 1_000_003) % 2**31,
                sampling=sampling,
            )
            for name in names:
                made[name].append(np.asarray(tokens[name])[window.num_context :])
            advance((index + 1) / len(plan))
        return {name: np.concatenate(made[name]) for name in names}


def _requested_acoustics(rt60_s: float | None, noise_dbfs: float | None) -> dict[str, float]:
    """What the user says of the room, by the name of `Acoustics`'s field."""
    asked = {}
    for option, name, value in (("--rt60", "rt60_s", rt60_s), ("--noise", "noise_dbfs", noise_dbfs)):
        if value is not None:
            lowest, highest = ACOUSTICS_RANGES[name]
            if not lowest <= value <= highest:
                raise UserError(f"{name} ({option}) is {value:g}: choose from {lowest:g} to {highest:g}")
            asked[name] = float(value)
    return asked
