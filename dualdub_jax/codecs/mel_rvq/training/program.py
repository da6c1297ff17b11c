"""All training phases of a mel-RVQ codec: tokens, then vocoder and acoustics renderer on frozen tokens."""

from typing import Any

from dualdub_jax.codecs.base import MakeCrops, RunPhase
from dualdub_jax.codecs.mel_rvq.training.acoustics import acoustics_phase
from dualdub_jax.codecs.mel_rvq.training.tokens import tokens_phase
from dualdub_jax.codecs.mel_rvq.training.vocoder import vocoder_phase
from dualdub_jax.config import Config
from dualdub_jax.types import Stream

PyTree = Any  # the codec's variables: see networks.py

DECODER_PARTS = ("vocoder", "acoustics_renderer")  # variables that `encode` does not read


class MelRVQTraining:
    """Implements `codecs.base.CodecTraining`.

    Args:
        config: of the run.
        stream: whose codec.
        make_batches: see `codecs.base.Codec`.
        initial: variables, or some of them, from which the phases start; None: random values.
    """

    def __init__(
        self, config: Config, stream: Stream, make_batches: MakeCrops, initial: PyTree | None = None
    ) -> None:
        self._config, self._stream, self._make_batches = config, stream, make_batches
        self._initial = initial or {}
        self._codec = config.streams[stream].codec
        self._has_acoustics = bool(self._codec.acoustics_num_blocks)
        self.encoder_phases: tuple[str, ...] = (f"codec_tokens_{stream}",)
        self.decoder_phases: tuple[str, ...] = (f"codec_vocoder_{stream}",)
        if self._has_acoustics:
            self.decoder_phases += (f"codec_acoustics_{stream}",)
        parts = {"acoustics": "acoustics_num_blocks", "phonemes": "phonetic_dim", "voice": "speaker_dim"}
        self.labels = {label: key for label, key in parts.items() if getattr(self._codec, key)}

    def train_encoder(self, run: RunPhase) -> PyTree | None:
        """Trains encoder, codebooks, decoder and speaker encoder."""
        batch_size = self._codec.training.batch_size
        parts = {name: x for name, x in self._initial.items() if name not in DECODER_PARTS}
        return run(
            tokens_phase(
                self._config, self._stream, lambda: self._make_batches(batch_size, None), parts or None
            )
        )

    def train_decoder(self, run: RunPhase, variables: PyTree) -> PyTree | None:
        """Adds "vocoder", and "acoustics_renderer" if the codec has one, to `variables`."""
        training = self._codec.training
        variables = {name: x for name, x in variables.items() if name not in DECODER_PARTS}
        vocoder = run(
            vocoder_phase(
                self._config,
                self._stream,
                variables,
                lambda: self._make_batches(training.vocoder_batch_size, None),
                self._initial.get("vocoder"),
            )
        )
        complete = None if vocoder is None else {**variables, "vocoder": vocoder}
        if not self._has_acoustics:
            return complete
        size, crop = training.acoustics_batch_size, training.acoustics_crop_frames
        renderer = run(
            acoustics_phase(
                self._config,
                self._stream,
                variables,
                lambda: self._make_batches(size, crop),
                self._initial.get("acoustics_renderer"),
            )
        )
        return None if None in (complete, renderer) else {**complete, "acoustics_renderer": renderer}
