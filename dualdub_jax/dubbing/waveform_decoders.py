"""The waveform decoders of a bundle: tokens of one track, with their conditions, to samples."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import soxr

from dualdub_jax.codecs.base import Codec, CodecSpec, CodecStream
from dualdub_jax.config import Config
from dualdub_jax.decoders.base import (
    CODEC,
    CodecDecoder,
    WaveformDecoder,
    decoder_kind,
    make_decoder,
    num_channels,
)
from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.dubbing.reference_frames import whole_frames
from dualdub_jax.dubbing.track_decoder import CHUNK_S, ONE_CALL_S, BufferedTrackDecoder
from dualdub_jax.types import STREAMS, Stream


class WaveformDecoders:
    """The decoder of each stream; `decoders[stream]` is a `WaveformDecoder`.

    Attributes:
        kinds: by stream, "codec" for the codec's own.
    """

    def __init__(
        self,
        config: Config,
        params: Mapping[str, Any],
        codecs: Mapping[Stream, Codec],
        use_codec_decoders: bool,
        knows_voice: bool,
    ) -> None:
        """Makes them.

        Args:
            config: of the bundle.
            params: of the bundle.
            codecs: by stream.
            use_codec_decoders: take the codecs' own, whatever the bundle has.
            knows_voice: whether decoders are conditioned on reference recordings.
        """
        self._grid, self._codecs, self._knows_voice = config.grid, codecs, knows_voice
        self.kinds = {
            stream: CODEC if use_codec_decoders else decoder_kind(config, stream) for stream in STREAMS
        }
        self._decoders = {
            stream: CodecDecoder(codecs[stream])
            if use_codec_decoders
            else make_decoder(config, stream, codecs[stream], params.get(f"{stream}_decoder"))
            for stream in STREAMS
        }

    def __getitem__(self, stream: Stream) -> WaveformDecoder:
        return self._decoders[stream]

    def open(
        self,
        stream: Stream,
        voice: np.ndarray | None = None,
        acoustics: Acoustics | None = None,
        chunk_frames: int | None = None,
    ) -> BufferedTrackDecoder:
        """Opens a decoder of one track of any length; arguments as of `Engine.decode`.

        With `chunk_frames`, every so many frames are decoded as soon as the decoder's receptive field allows.
        """
        frame_rate = self._grid.frame_rate

        def open_stream() -> CodecStream:
            conditions = self.conditions(stream, voice, acoustics)
            chunk = chunk_frames or math.ceil(CHUNK_S * frame_rate)
            return self[stream].open_stream(conditions, chunk)

        return BufferedTrackDecoder(
            decode=lambda tokens: self._decode_in_one_call(stream, tokens, voice, acoustics),
            open_stream=open_stream,
            sample_rate_hz=self[stream].sample_rate_hz,
            max_frames=-1 if chunk_frames else math.ceil(ONE_CALL_S * frame_rate),
            num_channels=num_channels(self[stream]),
        )

    def _decode_in_one_call(
        self, stream: Stream, tokens: np.ndarray, voice: np.ndarray | None, acoustics: Acoustics | None
    ) -> np.ndarray:
        num_frames, window = len(tokens), self._grid.num_frames
        # Padded to whole windows, so that films of similar length share a compiled decoder.
        padded = math.ceil(num_frames / window) * window
        rows = np.pad(tokens, ((0, padded - num_frames), (0, 0)))[None]
        mask = (np.arange(padded) < num_frames)[None]
        conditions = self.conditions(stream, voice, acoustics)
        waveform = self[stream].decode(rows, mask, conditions)
        num_samples = math.ceil(num_frames * self[stream].sample_rate_hz / self._grid.frame_rate)
        return np.asarray(waveform)[0, :num_samples]

    def conditions(
        self, stream: Stream, voice: np.ndarray | None, acoustics: Acoustics | None
    ) -> dict[str, jax.Array]:
        """Conditions of a decoder: "speaker" float32[1, D], "acoustics" float32[1, 2], where known."""
        conditions, codec = {}, self._codecs[stream]
        if stream == "speech" and "speaker" in codec.spec.decode_conditions:
            samples, mask = self._reference(codec.spec, voice if self._knows_voice else None)
            conditions["speaker"] = codec.encode_speaker(samples[None], mask[None])
        if acoustics is not None:
            conditions["acoustics"] = np.float32([acoustics])
        return conditions

    def _reference(self, spec: CodecSpec, voice: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Resamples the reference to a codec's rates: float32[R * samples_per_frame] and mask bool[R]."""
        grid = self._grid
        num_frames = math.ceil(grid.num_voice_frames / grid.frame_rate * spec.frame_rate)
        if voice is not None and spec.sample_rate_hz != grid.sample_rate_hz:
            voice = soxr.resample(np.asarray(voice, np.float32), grid.sample_rate_hz, spec.sample_rate_hz)
        return whole_frames(voice, spec.samples_per_frame, num_frames)
