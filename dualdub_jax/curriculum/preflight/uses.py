"""Which phases read which mixture, and what they make of its records."""

import dataclasses
from collections.abc import Callable, Sequence

from dualdub_jax.casp.kaldi_fbank import SAMPLE_RATE_HZ
from dualdub_jax.casp.training import PHASE_NAME as CASP
from dualdub_jax.codecs.registry import codec_spec, codec_training
from dualdub_jax.config import Config, SourceConfig
from dualdub_jax.curriculum import start
from dualdub_jax.curriculum.batches import codec_mixture, decoder_mixture, no_batches
from dualdub_jax.curriculum.preflight.problems import Problems
from dualdub_jax.curriculum.video_encoder import PHASE_NAME as VIDEO
from dualdub_jax.data_pipeline.example import MakeExample
from dualdub_jax.data_pipeline.replacement import Transform
from dualdub_jax.data_pipeline.stem_crops import CropStem
from dualdub_jax.data_pipeline.stem_pairs import CropPair
from dualdub_jax.decoders.base import decoder_training, has_decoder
from dualdub_jax.text.tokenizer import Tokenizer
from dualdub_jax.types import Stream

_CROP_FRAMES = 1  # crops are drawn of a stem that has been decoded whole


@dataclasses.dataclass(frozen=True)
class Use:
    """A mixture and what is made of its records.

    Attributes:
        where: the key of the mixture, as messages name it.
        phases: names of the phases that read it.
        mixture: datasets and weights.
        kind: of the transform; transforms of one kind that drop the same are equal.
        transform: name of a dataset -> the transform of its records.
        dropped: parts that are masked in all examples; `dropped_of` has those of one dataset.
        stream: of a codec's crops.
    """

    where: str
    phases: tuple[str, ...]
    mixture: Sequence[SourceConfig]
    kind: str
    transform: Callable[[str], Transform]
    dropped: tuple[str, ...] = ()
    stream: Stream | None = None

    def dropped_of(self, name: str) -> tuple[str, ...]:
        """Parts that are masked in the examples of a dataset."""
        own = next((source.drop for source in self.mixture if source.name == name), ())
        return (*self.dropped, *own)


def uses_of(config: Config, tokenizer: Tokenizer | None, problems: Problems) -> list[Use]:
    """All uses of data in a run, stages first, whose errors say most.

    Args:
        config: of the run.
        tokenizer: of its scripts; None: it cannot be made, and stages are left out.
        problems: is added to, where a codec cannot be found.
    """
    if config.task == "casp":
        return [pair_use(config)]
    found = []
    if tokenizer is not None:
        if config.video_training.num_steps:
            where = f"stage {VIDEO!r}: mixture"
            found.append(example_use(config, tokenizer, where, (VIDEO,), config.video_training.mixture))
        for stage in config.stages:
            where = f"stage {stage.name!r}: mixture"
            found.append(example_use(config, tokenizer, where, (stage.name,), stage.mixture, stage.drop))
    for stream in start.trained_streams(config):
        with problems.noted():
            found += crop_uses(config, stream)
    return found


def pair_use(config: Config) -> Use:
    """Pairs of stems, which CASP is trained on."""

    def transform(name: str) -> Transform:
        return CropPair(name, SAMPLE_RATE_HZ, config.casp.train_crop_samples)

    return Use("casp_training.mixture", (CASP,), config.casp_training.mixture, "pair", transform)


def crop_uses(config: Config, stream: Stream) -> list[Use]:
    """Crops of one stream's stems, which its codec and waveform decoder are trained on."""
    codec_phases: tuple[str, ...] = ()
    training = codec_training(config, stream, no_batches)
    if training is not None:
        codec_phases += (*training.encoder_phases, *training.decoder_phases)
    decoder_phases: tuple[str, ...] = ()
    if has_decoder(config, stream):
        decoder_phases = tuple(decoder_training(config, stream, no_batches).phases)
    own = decoder_mixture(config, stream)
    if not own:
        return [
            _crop_use(config, stream, "codec", codec_mixture(config, stream), codec_phases + decoder_phases)
        ]
    return [
        _crop_use(config, stream, "codec", codec_mixture(config, stream), codec_phases),
        _crop_use(config, stream, "decoder", own, decoder_phases),
    ]


def _crop_use(
    config: Config, stream: Stream, part: str, mixture: Sequence[SourceConfig], phases: tuple[str, ...]
) -> Use:
    spec = codec_spec(config, stream)
    voice_s = config.grid.num_voice_frames / config.grid.frame_rate
    where = f"streams.{stream}.{part}.training.mixture"

    def transform(name: str) -> Transform:
        return CropStem(name, stream, spec, _CROP_FRAMES, voice_s, silence_rate=0.0, where=where)

    return Use(where, phases, mixture, f"crop {stream}", transform, stream=stream)


def example_use(
    config: Config,
    tokenizer: Tokenizer,
    where: str,
    phases: tuple[str, ...],
    mixture: Sequence[SourceConfig],
    dropped: tuple[str, ...] = (),
) -> Use:
    """Examples of a stage; see `Use` for the arguments."""

    def transform(name: str) -> Transform:
        return MakeExample(name, config, tokenizer, use.dropped_of(name))

    use = Use(where, phases, mixture, "example", transform, dropped)
    return use
