"""A bundle ready to generate: one window of video, script and voice in, tokens and waveforms out."""

import functools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from dualdub_jax.bundles.bundle import load_bundle
from dualdub_jax.codecs.base import CodecStream
from dualdub_jax.codecs.mel_rvq.codec import MelRVQCodec
from dualdub_jax.config import Config, SamplingConfig
from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.dubbing.generation import generate_tokens, sample_acoustics
from dualdub_jax.dubbing.sampling import stream_sampling
from dualdub_jax.dubbing.track_decoder import CHUNK_S, ONE_CALL_S, BufferedTrackDecoder
from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.models.dualdub import make_model
from dualdub_jax.text.tokenizer import make_tokenizer
from dualdub_jax.types import STREAMS, Batch, Stream

PyTree = dict
Condition = Literal["video", "script", "voice", "acoustics"]


class Engine:
    """Model and codecs of one bundle. Every window has the same shape, so all is compiled once.

    Attributes:
        config: of the bundle.
        tokenizer: of scripts.
        codecs: by stream.
    """

    def __init__(self, config: Config, params: PyTree, absent: Sequence[Condition] = ()):
        """Binds parameters.

        Args:
            config: of the bundle.
            params: as `bundle.load_bundle` returns them.
            absent: conditions that the model is not shown, whatever it is given: for models trained without.
        """
        self.config = config
        self._absent = absent
        self.tokenizer = make_tokenizer(config.model)
        self.codecs: dict[Stream, MelRVQCodec] = {
            stream: MelRVQCodec(getattr(config, f"{stream}_codec"), config.grid, params[f"{stream}_codec"])
            for stream in STREAMS
        }
        self._params = params["model"]
        self._generate = jax.jit(functools.partial(generate_tokens, make_model(config)))
        self._sample_acoustics = jax.jit(functools.partial(sample_acoustics, make_model(config)))

    @classmethod
    def from_bundle(
        cls, directory: pathlib.Path, *, mesh: Mesh | None = None, allow_code: bool = False
    ) -> "Engine":
        """Reads a bundle; arguments and errors as `bundle.load_bundle`."""
        return cls(*load_bundle(directory, mesh=mesh, allow_code=allow_code))

    @property
    def has_acoustics(self) -> bool:
        """Whether the model is told of the room."""
        return bool(self.config.model.num_acoustics_bins) and "acoustics" not in self._absent

    @property
    def frame_spec(self) -> FrameSpec:
        """The video frames that `encode_frames` takes."""
        return FrameSpec(self.config.grid.frame_rate, self.config.grid.frame_size)

    def encode_frames(self, frames: np.ndarray) -> np.ndarray:
        """The model's video input of uint8[n, size, size, 3]: the frames themselves."""
        return frames

    def sample_rate_hz(self, stream: Stream) -> int:
        """Sample rate of a decoded track."""
        return self.codecs[stream].sample_rate_hz

    def sample_acoustics(self, video: np.ndarray, seed: int) -> Acoustics | None:
        """A room that goes with a film.

        Args:
            video: uint8[T, size, size, 3], a window of it.
            seed: of the draw.

        Returns:
            None for a model that is not told of rooms.
        """
        if not self.has_acoustics:
            return None
        batch = self._batch(video, "", None, None, False, False, {})
        rt60_s, noise_dbfs = np.asarray(self._sample_acoustics(self._params, batch, jax.random.key(seed)))[0]
        return Acoustics(float(rt60_s), float(noise_dbfs))

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
        """Tokens of one window.

        Args:
            video: uint8[T, size, size, 3] on the grid; T at most `config.grid.num_frames`, context
                frames included.
            script: what is said in this window, "" for nothing.
            voice: float32[S] reference recording at the grid's sample rate; what is longer than
                `config.grid.num_voice_frames` is cut. None: no reference.
            acoustics: that both streams are in; a model that is not told of rooms ignores it. None: unknown.
            use_speech: generate the speech stream.
            use_background: generate the background stream.
            context: by used stream, int32[K, Q] tokens of the window's first K frames; empty: none.
            seed: of sampling.
            sampling: temperatures, cuts, guidance.

        Returns:
            int32[T, Q] by used stream; the first K frames are the context.

        Raises:
            ValueError: a window, script or context longer than the model's.
        """
        grid = self.config.grid
        num_frames = len(video)
        if not 0 < num_frames <= grid.num_frames:
            raise ValueError(f"window has {num_frames} frames, the model takes 1 to {grid.num_frames}")
        num_context = {len(tokens) for tokens in context.values()} or {0}
        if len(num_context) > 1 or max(num_context) > num_frames:
            raise ValueError(f"context of {sorted(num_context)} frames does not fit {num_frames}")
        batch = self._batch(video, script, voice, acoustics, use_speech, use_background, context)
        guidance = sampling.guidance_scale
        tokens = self._generate(
            self._params,
            batch,
            jnp.int32(max(num_context)),
            jax.random.key(seed),
            stream_sampling(sampling),
            None if guidance == 1.0 else jnp.float32(guidance),
            jnp.int32(sampling.guidance_codebooks),
        )
        used = {"speech": use_speech, "background": use_background}
        return {stream: np.asarray(tokens[stream])[0, :num_frames] for stream in STREAMS if used[stream]}

    def decode(
        self,
        stream: Stream,
        tokens: np.ndarray,
        voice: np.ndarray | None = None,
        acoustics: Acoustics | None = None,
    ) -> np.ndarray:
        """The waveform of a whole track.

        Args:
            stream: which track.
            tokens: int32[T, Q].
            voice: of speech, as for `generate`: a codec that leaves the voice out of its tokens takes it
                from here.
            acoustics: that the track is brought into, by a codec that can; None: what the tokens say.

        Returns:
            float32[T * samples_per_frame].
        """
        num_frames, window = len(tokens), self.config.grid.num_frames
        # Whole windows, so that films of similar length share a compiled decoder.
        padded = math.ceil(num_frames / window) * window
        rows = np.pad(tokens, ((0, padded - num_frames), (0, 0)))[None]
        codec, mask = self.codecs[stream], (np.arange(padded) < num_frames)[None]
        waveform = codec.decode(rows, mask, *self._decoder_conditions(stream, voice, acoustics))
        return np.asarray(waveform)[0, : num_frames * self.config.grid.samples_per_frame]

    def open_decoder(
        self, stream: Stream, voice: np.ndarray | None = None, acoustics: Acoustics | None = None
    ) -> BufferedTrackDecoder:
        """A decoder for one track of any length; arguments as for `decode`."""
        codec, frame_rate = self.codecs[stream], self.config.grid.frame_rate

        def open_stream() -> CodecStream:
            conditions = self._decoder_conditions(stream, voice, acoustics)
            return codec.stream(*conditions, chunk_frames=math.ceil(CHUNK_S * frame_rate))

        return BufferedTrackDecoder(
            decode=lambda tokens: self.decode(stream, tokens, voice, acoustics),
            open_stream=open_stream,
            sample_rate_hz=self.sample_rate_hz(stream),
            max_frames=math.ceil(ONE_CALL_S * frame_rate),
        )

    def _decoder_conditions(
        self, stream: Stream, voice: np.ndarray | None, acoustics: Acoustics | None
    ) -> tuple[jax.Array | None, np.ndarray | None]:
        """What a codec's decoder is conditioned on: speaker float32[1, D], acoustics float32[1, 2]."""
        reference = None
        if stream == "speech":
            samples, voice_mask = self._reference(None if "voice" in self._absent else voice)
            reference = self.codecs[stream].read_voice(samples[None], voice_mask[None])
        return reference, None if acoustics is None else np.float32([acoustics])

    def _reference(self, voice: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """float32[R * samples_per_frame] and bool[R], where the recording is."""
        grid = self.config.grid
        samples = np.zeros(grid.num_voice_frames * grid.samples_per_frame, np.float32)
        num_frames = 0
        if voice is not None:
            voice = np.asarray(voice, np.float32)[: len(samples)]
            num_frames = len(voice) // grid.samples_per_frame
            covered = num_frames * grid.samples_per_frame
            samples[:covered] = voice[:covered]
        return samples, np.arange(grid.num_voice_frames) < num_frames

    def _batch(
        self,
        video: np.ndarray,
        script: str,
        voice: np.ndarray | None,
        acoustics: Acoustics | None,
        use_speech: bool,
        use_background: bool,
        context: Mapping[str, np.ndarray],
    ) -> Batch:
        grid = self.config.grid
        script_tokens = np.zeros(grid.num_script_tokens, np.int32)
        ids = self.tokenizer.encode(script)
        if len(ids) > grid.num_script_tokens:
            raise ValueError(f"script has {len(ids)} tokens, a window holds {grid.num_script_tokens}")
        script_tokens[: len(ids)] = ids
        samples, voice_mask = self._reference(voice)
        tokens = {}
        for stream in STREAMS:
            tokens[stream] = np.zeros((grid.num_frames, self.codecs[stream].num_codebooks), np.int32)
            if stream in context:
                tokens[stream][: len(context[stream])] = context[stream]
        frames = np.zeros((grid.num_frames, *video.shape[1:]), np.uint8)
        frames[: len(video)] = video
        fields = {
            "video": frames,
            "frame_mask": np.arange(grid.num_frames) < len(video),
            "script_tokens": script_tokens,
            "script_mask": np.arange(grid.num_script_tokens) < len(ids),
            "script_alignment": np.full(grid.num_frames, -1, np.int32),
            "voice": samples,
            "voice_mask": voice_mask,
            "acoustics": np.zeros(2, np.float32) if acoustics is None else np.array(acoustics, np.float32),
            "speech_tokens": tokens["speech"],
            "background_tokens": tokens["background"],
            "has_video": np.True_,
            # Without a speech stream the script says nothing; the model has learned that as "unknown".
            "has_script": np.bool_(use_speech),
            "has_voice": np.bool_(voice is not None and use_speech),
            "has_acoustics": np.bool_(acoustics is not None),
            "has_speech": np.bool_(use_speech),
            "has_background": np.bool_(use_background),
        }
        fields |= {f"has_{name}": np.False_ for name in self._absent}
        return Batch(**{name: np.asarray(value)[None] for name, value in fields.items()})
