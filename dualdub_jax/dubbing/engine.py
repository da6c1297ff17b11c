"""The inference engine of a bundle: generates tokens of one window, and decodes tracks."""

import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int, UInt8

from dualdub_jax.bundles.bundle import load_bundle
from dualdub_jax.codecs.registry import make_codecs
from dualdub_jax.config import Config, SamplingConfig
from dualdub_jax.decoders.base import num_channels
from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.dubbing.batched_generation import BatchedGeneration, WindowInputs, generate_window
from dualdub_jax.dubbing.generation import Steering, generate_frames, sample_acoustics, start_window
from dualdub_jax.dubbing.protocol import WindowRequest
from dualdub_jax.dubbing.rates import count_letters
from dualdub_jax.dubbing.steering import LATEST_RATE, SILENCE_DBFS, make_steering, silence_tokens
from dualdub_jax.dubbing.track_decoder import BufferedTrackDecoder
from dualdub_jax.dubbing.waveform_decoders import WaveformDecoders
from dualdub_jax.dubbing.window_batch import Condition, WindowBatches, num_video_frames
from dualdub_jax.encoders.base import video_inputs
from dualdub_jax.encoders.extraction import make_extractor
from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.models.decoding_params import decoding_params
from dualdub_jax.models.dualdub import make_model
from dualdub_jax.parts.shapes import checked
from dualdub_jax.text.tokenizer import make_tokenizer
from dualdub_jax.text.words import split_words
from dualdub_jax.types import STREAMS, Batch, Stream

PyTree = dict  # a bundle's parameters: nested dictionaries of arrays


class Engine:
    """Model and codecs of one bundle. All windows have one shape, so each function compiles once.

    Attributes:
        config: of the bundle.
        tokenizer: of scripts.
        codecs: by stream.
        decoders: of waveforms, by stream.
        decoder_kinds: by stream, "codec" for the codec's own waveform decoder.
    """

    def __init__(
        self,
        config: Config,
        params: PyTree,
        absent: Sequence[Condition] = (),
        *,
        use_codec_decoders: bool = False,
        mesh: Mesh | None = None,
    ):
        """Binds parameters.

        Args:
            config: of the bundle.
            params: as `bundle.load_bundle` returns them.
            absent: conditions that are always masked, for models trained without them.
            use_codec_decoders: decode with the codecs' own decoders, whatever the bundle has.
            mesh: over which `params` are sharded; None: they are on one device.
        """
        self.config = config
        self._absent = absent
        self.tokenizer = make_tokenizer(config.model)
        self.codecs = make_codecs(config, {stream: params[f"{stream}_codec"] for stream in STREAMS})
        self.decoders = WaveformDecoders(
            config, params, self.codecs, use_codec_decoders, knows_voice="voice" not in absent
        )
        self.decoder_kinds = self.decoders.kinds
        self._batches = WindowBatches(config, self.tokenizer, absent)
        self._extractor = make_extractor(config)
        model = make_model(config)
        self._params = decoding_params(model, params["model"])
        self._mesh = mesh
        self._generate = jax.jit(functools.partial(generate_window, model))
        self._start = jax.jit(functools.partial(start_window, model), static_argnames="is_guided")
        self._continue = jax.jit(
            functools.partial(generate_frames, model), static_argnums=5, donate_argnums=3
        )
        self._batched = functools.cache(self._make_batched)
        self._silence = functools.cache(
            functools.partial(silence_tokens, self.codecs["speech"], config.grid.num_frames)
        )
        self._sample_acoustics = jax.jit(functools.partial(sample_acoustics, model))

    @classmethod
    def from_bundle(
        cls,
        directory: pathlib.Path,
        *,
        mesh: Mesh | None = None,
        allow_code: bool = False,
        use_codec_decoders: bool = False,
    ) -> "Engine":
        """Reads a bundle; arguments and errors as `bundle.load_bundle` and of the constructor."""
        config, params = load_bundle(directory, mesh=mesh, allow_code=allow_code)
        return cls(config, params, use_codec_decoders=use_codec_decoders, mesh=mesh)

    @property
    def has_acoustics(self) -> bool:
        """Whether the model is conditioned on room acoustics."""
        return bool(self.config.model.num_acoustics_bins) and "acoustics" not in self._absent

    @property
    def frame_specs(self) -> dict[str, FrameSpec]:
        """By row of `Batch` that the video encoder reads, the frames that `encode_frames` takes."""
        grid, specs = self.config.grid, {}
        if "video" in video_inputs(self.config.model):
            specs["video"] = FrameSpec(grid.frame_rate, grid.frame_size)
        if self._extractor is not None:
            specs["video_features"] = self._extractor.frame_spec
        return specs

    def encode_frames(self, row: str, frames: np.ndarray) -> np.ndarray:
        """Computes a row of video from frames uint8[n, size, size, 3].

        Returns:
            For "video" the frames, for "video_features" features float32[n, D_video].
        """
        return frames if row == "video" else self._extractor.extract(frames)

    def sample_rate_hz(self, stream: Stream) -> int:
        """Sample rate of a decoded track."""
        return self.decoders[stream].sample_rate_hz

    def num_channels(self, stream: Stream) -> int:
        """Channels of a decoded track."""
        return num_channels(self.decoders[stream])

    def sample_acoustics(self, video: Mapping[str, np.ndarray], seed: int) -> Acoustics | None:
        """Samples room acoustics for a film.

        Args:
            video: of one window, by row, as `encode_frames` returns it, on the grid.
            seed: of sampling.

        Returns:
            None for a model without acoustics conditioning.
        """
        if not self.has_acoustics:
            return None
        batch = self._batches.make(video, "", None, None, False, False, {})
        rt60_s, noise_dbfs = np.asarray(self._sample_acoustics(self._params, batch, jax.random.key(seed)))[0]
        return Acoustics(float(rt60_s), float(noise_dbfs))

    @checked
    def generate(
        self,
        *,
        video: Mapping[str, UInt8[np.ndarray, "T size size 3"] | Float[np.ndarray, "T D_video"]],
        script: str,
        voice: Float[np.ndarray, " S"] | None,
        acoustics: Acoustics | None = None,
        use_speech: bool,
        use_background: bool,
        context: Mapping[str, Int[np.ndarray, "K _"]],
        seed: int,
        sampling: SamplingConfig,
        speech_span: tuple[int, int] | None = None,
    ) -> dict[str, Int[np.ndarray, "T _"]]:
        """Generates tokens of one window.

        Args:
            video: by row, "video" uint8[T, size, size, 3] and "video_features" float32[T, D_video], as
                `encode_frames` returns them, on the grid; T is at most `config.grid.num_frames`, context
                frames included.
            script: of this window, with case and punctuation if the tokenizer knows them; "": no speech.
            voice: float32[S] in [-1, 1], reference recording at the grid's sample rate; truncated to
                `config.grid.num_voice_frames`. None: no reference.
            acoustics: of both streams; ignored by a model without acoustics conditioning. None: unknown.
            use_speech: generate the speech stream.
            use_background: generate the background stream.
            context: by used stream, given tokens int32[K, Q] of the window's first K frames; empty: none.
            seed: of sampling.
            sampling: temperatures, truncation, guidance.
            speech_span: frames [first, end) of the window in which the script is spoken, all of it if the
                model has a script aligner; the speech of other frames behind the context is silence. None:
                the model chooses.

        Returns:
            By used stream, int32[T, Q]; the first K frames are the context.

        Raises:
            ValueError: a window, script or context longer than the model's.
        """
        inputs = self._inputs(
            WindowRequest(
                video=video,
                script=script,
                voice=voice,
                acoustics=acoustics,
                use_speech=use_speech,
                use_background=use_background,
                context=context,
                seed=seed,
                sampling=sampling,
                speech_span=speech_span,
            )
        )
        return inputs.used_tokens(self._generate(self._params, inputs.rows, inputs.sampling))

    def generate_parts(self, request: WindowRequest, part_frames: int) -> Iterator[dict[str, np.ndarray]]:
        """Generates the tokens of one window in parts, see `DubbingEngine.generate_parts`."""
        inputs = self._inputs(request)
        row, (streams, scale, num_codebooks) = inputs.rows, inputs.sampling
        guidance = None if scale is None else (scale, num_codebooks)
        conditions, carry = self._start(self._params, row.batch, is_guided=guidance is not None)
        for first in range(0, inputs.num_frames, part_frames):
            carry, codes = self._continue(
                self._params,
                row.batch,
                conditions,
                carry,
                np.int32(first),
                part_frames,
                row.num_context,
                jax.random.wrap_key_data(row.key),
                streams,
                guidance,
                row.steering,
            )
            end = min(part_frames, inputs.num_frames - first)
            yield {stream: np.asarray(codes[stream])[0, :end] for stream in inputs.used}

    def generate_many(
        self, requests: Sequence[WindowRequest], rows_per_device: int
    ) -> list[dict[str, np.ndarray]]:
        """Generates tokens of one window each of several films, see `DubbingEngine.generate_many`."""
        return self._batched(rows_per_device).generate([self._inputs(request) for request in requests])

    def most_windows(self, rows_per_device: int) -> int:
        """See `DubbingEngine.most_windows`."""
        return self._batched(rows_per_device).num_rows

    def _inputs(self, request: WindowRequest) -> WindowInputs:
        """Checks a request and makes the model's inputs of it."""
        grid, sampling = self.config.grid, request["sampling"]
        num_frames, context = num_video_frames(request["video"]), request["context"]
        if not 0 < num_frames <= grid.num_frames:
            raise ValueError(f"window has {num_frames} frames, the model takes 1 to {grid.num_frames}")
        num_context = {len(tokens) for tokens in context.values()} or {0}
        if len(num_context) > 1 or max(num_context) > num_frames:
            raise ValueError(f"context of {sorted(num_context)} frames does not fit {num_frames}")
        use_speech, span, acoustics = request["use_speech"], request["speech_span"], request["acoustics"]
        batch = self._batches.make(
            request["video"],
            request["script"],
            request["voice"],
            acoustics,
            use_speech,
            request["use_background"],
            context,
        )
        steering = None
        if use_speech and span is not None:
            silence, silent_codes = self._silence(_noise_dbfs(acoustics))
            steering = self._steering(
                batch, count_letters(split_words(request["script"])), span, max(num_context), silent_codes
            )
            speech = np.where(steering.is_silent[:, None], silence, batch.speech_tokens)
            batch = batch.replace(speech_tokens=speech)
        used = {"speech": use_speech, "background": request["use_background"]}
        return WindowInputs.make(
            batch,
            max(num_context),
            request["seed"],
            sampling,
            steering,
            num_frames,
            tuple(stream for stream in STREAMS if used[stream]),
        )

    def _make_batched(self, rows_per_device: int) -> BatchedGeneration:
        return BatchedGeneration(make_model(self.config), self._params, rows_per_device, self._mesh)

    def silence(self, num_frames: int, acoustics: Acoustics | None) -> Int[np.ndarray, "T Q"]:
        """Speech tokens of silence in a room, of at most a window.

        Args:
            num_frames: T.
            acoustics: of the room; None: unknown.
        """
        return self._silence(_noise_dbfs(acoustics))[0][:num_frames]

    def _steering(
        self,
        batch: Batch,
        num_letters: int,
        span: tuple[int, int],
        num_context: int,
        silent_codes: np.ndarray,
    ) -> Steering:
        if not self.config.model.aligner.use_script:
            # Without a position in the script there is no telling whether the model is late.
            silent_codes = np.zeros_like(silent_codes)
        return make_steering(
            self.config.grid.num_frames,
            span,
            int(batch.script_mask.sum()),
            num_letters / LATEST_RATE * float(self.config.grid.frame_rate),
            num_context,
            silent_codes,
        )

    @checked
    def decode(
        self,
        stream: Stream,
        tokens: Int[np.ndarray, "T Q"],
        voice: Float[np.ndarray, " S_voice"] | None = None,
        acoustics: Acoustics | None = None,
    ) -> Float[np.ndarray, " S"] | Float[np.ndarray, "S 2"]:
        """Decodes a whole track: in one call if it is short, else in chunks.

        Args:
            stream: which track.
            tokens: int32[T, Q].
            voice: as for `generate`; conditions a speech codec whose tokens carry no speaker identity.
            acoustics: rendered by codecs conditioned on acoustics; None: those that the tokens carry.

        Returns:
            float32[T / frame rate * sample rate, rounded up]; of a stereo decoder float32[S, 2].
        """
        decoder = self.open_decoder(stream, voice, acoustics)
        return np.concatenate([decoder.push(tokens), decoder.flush()])

    def open_decoder(
        self,
        stream: Stream,
        voice: np.ndarray | None = None,
        acoustics: Acoustics | None = None,
        chunk_frames: int | None = None,
    ) -> BufferedTrackDecoder:
        """See `WaveformDecoders.open`."""
        return self.decoders.open(stream, voice, acoustics, chunk_frames)


def _noise_dbfs(acoustics: Acoustics | None) -> int:
    """Level of a room's noise, whole decibels."""
    is_known = acoustics is not None and acoustics.noise_dbfs is not None
    return round(acoustics.noise_dbfs if is_known else SILENCE_DBFS)
