"""`dualdub convert`: recognises a public checkpoint by its tensors and converts its weights."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from dualdub_jax.checkpoints.converted import refuse_content, write_converted
from dualdub_jax.checkpoints.public_models import PUBLIC_MODELS
from dualdub_jax.checkpoints.tree_paths import check_shapes
from dualdub_jax.codecs.base import Codec
from dualdub_jax.codecs.dac.codec import DacCodec
from dualdub_jax.codecs.public_weights import jsonable_sizes
from dualdub_jax.codecs.wavtokenizer.codec import WavTokenizerCodec
from dualdub_jax.convert import clip, cnn14, oobleck, utmos, vggish, wavlm_sv, wavtokenizer
from dualdub_jax.convert.clip import clip_from_torch, is_clip
from dualdub_jax.convert.cnn14 import cnn14_from_torch, is_cnn14
from dualdub_jax.convert.dac import dac_from_torch, is_dac
from dualdub_jax.convert.language_model import refuse_language_model
from dualdub_jax.convert.oobleck import is_oobleck, oobleck_from_torch
from dualdub_jax.convert.public_files import PublicCheckpoint, read_checkpoint
from dualdub_jax.convert.utmos import is_utmos, utmos_from_torch
from dualdub_jax.convert.vggish import is_vggish, vggish_from_torch
from dualdub_jax.convert.wavlm_sv import is_wavlm_sv, wavlm_sv_from_torch
from dualdub_jax.convert.wavtokenizer import is_wavtokenizer, wavtokenizer_from_torch
from dualdub_jax.decoders.oobleck.autoencoder import abstract_autoencoder
from dualdub_jax.encoders.audio.cnn14 import Cnn14
from dualdub_jax.encoders.audio.utmos import Utmos
from dualdub_jax.encoders.audio.vggish import Vggish
from dualdub_jax.encoders.audio.wavlm_sv import WavlmSv, least_samples
from dualdub_jax.encoders.clip.tower import ClipTower
from dualdub_jax.errors import UserError

PyTree = Any  # nested dictionaries of arrays


@dataclasses.dataclass(frozen=True)
class Converter:
    """One kind of public model.

    Attributes:
        recognises: whether tensors with these names are of the kind.
        convert: returns the sizes, plain JSON values, and float32 parameters.
        unused: matches names of tensors that the model does not need.
    """

    recognises: Callable[[Mapping[str, Any]], bool]
    convert: Callable[[PublicCheckpoint], tuple[dict[str, Any], PyTree]]
    unused: re.Pattern[str] = re.compile(r"(?!)")  # none


def _wavtokenizer(checkpoint: PublicCheckpoint) -> tuple[dict[str, Any], PyTree]:
    config, variables = wavtokenizer_from_torch(
        checkpoint.tensors,
        checkpoint.where,
        sample_rate_hz=checkpoint.config.get("sampling_rate", 24_000),
        num_groups=checkpoint.config.get("decoder_attention_num_groups", 32),
    )
    return _codec(WavTokenizerCodec, config, variables, checkpoint)


def _dac(checkpoint: PublicCheckpoint) -> tuple[dict[str, Any], PyTree]:
    rate = checkpoint.config.get("sampling_rate")
    config, variables = dac_from_torch(checkpoint.tensors, checkpoint.where, sample_rate_hz=rate)
    return _codec(DacCodec, config, variables, checkpoint)


def _codec(
    codec: type[Codec], config: Any, variables: PyTree, checkpoint: PublicCheckpoint
) -> tuple[dict[str, Any], PyTree]:
    shapes = jax.eval_shape(lambda: codec.init(config, jax.random.key(0)))
    check_shapes(shapes, variables, checkpoint.where)
    return jsonable_sizes(config), variables


def _clip(checkpoint: PublicCheckpoint) -> tuple[dict[str, Any], PyTree]:
    config, params = clip_from_torch(checkpoint.tensors, checkpoint.where, checkpoint.config)
    images = np.zeros((1, config.image_size, config.image_size, 3), np.uint8)
    _check(ClipTower(config), params, checkpoint, images)
    return dataclasses.asdict(config), params


def _check(module: nn.Module, params: PyTree, checkpoint: PublicCheckpoint, *inputs: np.ndarray) -> None:
    """Raises a `UserError` for parameters of other shapes than the module's."""
    shapes = jax.eval_shape(lambda: nn.unbox(module.init(jax.random.key(0), *inputs)["params"]))
    check_shapes(shapes, params, checkpoint.where)


def _cnn14(checkpoint: PublicCheckpoint) -> tuple[dict[str, Any], PyTree]:
    config, params = cnn14_from_torch(checkpoint.tensors, checkpoint.where)
    mels, lengths = np.zeros((1, 64, 64), np.float32), np.array([64], np.int32)
    _check(Cnn14(config), params["network"], checkpoint, mels, lengths)
    return _json(config), params


def _vggish(checkpoint: PublicCheckpoint) -> tuple[dict[str, Any], PyTree]:
    config, params = vggish_from_torch(checkpoint.tensors, checkpoint.where)
    _check(Vggish(config), params, checkpoint, np.zeros((1, 96, 64), np.float32))
    return _json(config), params


def _utmos(checkpoint: PublicCheckpoint) -> tuple[dict[str, Any], PyTree]:
    config, params = utmos_from_torch(checkpoint.tensors, checkpoint.where, checkpoint.config)
    _check(Utmos(config), params, checkpoint, *_second())
    return _json(config), params


def _wavlm_sv(checkpoint: PublicCheckpoint) -> tuple[dict[str, Any], PyTree]:
    config, params = wavlm_sv_from_torch(checkpoint.tensors, checkpoint.where, checkpoint.config)
    _check(WavlmSv(config), params, checkpoint, *_second(least_samples(config)))
    return _json(config), params


def _json(config: Any) -> dict[str, Any]:
    """Sizes as config.json keeps them: tuples, also of inner configs, as lists."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def _second(num_samples: int = 16_000) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((1, num_samples), np.float32), np.array([num_samples], np.int32)


def _oobleck(checkpoint: PublicCheckpoint) -> tuple[dict[str, Any], PyTree]:
    rate = checkpoint.config.get("sampling_rate", 44_100)
    config, params = oobleck_from_torch(checkpoint.tensors, checkpoint.where, sample_rate_hz=rate)
    check_shapes(abstract_autoencoder(config), params, checkpoint.where)
    return _json(config), params


CONVERTERS: dict[str, Converter] = {
    "wavtokenizer": Converter(is_wavtokenizer, _wavtokenizer, wavtokenizer.UNUSED),
    "dac": Converter(is_dac, _dac),
    "oobleck": Converter(is_oobleck, _oobleck, oobleck.UNUSED),
    "clip": Converter(is_clip, _clip, clip.UNUSED),
    "cnn14": Converter(is_cnn14, _cnn14, cnn14.UNUSED),
    "vggish": Converter(is_vggish, _vggish, vggish.UNUSED),
    "utmos": Converter(is_utmos, _utmos, utmos.UNUSED),
    "wavlm_sv": Converter(is_wavlm_sv, _wavlm_sv, wavlm_sv.UNUSED),
}


class Converted(NamedTuple):
    """What was written.

    Attributes:
        kind: key of `CONVERTERS`.
        sizes: of the architecture, as the folder's config.json has them.
        num_parameters: in total.
        unused: names of the source's tensors that the model does not need, such as discriminators.
    """

    kind: str
    sizes: dict[str, Any]
    num_parameters: int
    unused: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One line: the model, its size, and what was left out."""
        text = f"{PUBLIC_MODELS[self.kind].title}: {self.num_parameters:,} parameters"
        if not self.unused:
            return text
        groups = ", ".join(sorted({name.partition(".")[0] for name in self.unused}))
        return f"{text}; {len(self.unused)} tensors are not needed ({groups})"

    @property
    def usage(self) -> str:
        """How a config names the folder."""
        return PUBLIC_MODELS[self.kind].used_as


def convert_public_weights(source: pathlib.Path, out: pathlib.Path) -> Converted:
    """Converts a public checkpoint to a folder that configs name.

    Args:
        source: a file (`.safetensors`, or of `torch.save`), or a folder as Hugging Face writes it.
        out: new or empty folder.

    Raises:
        UserError: an unreadable or unknown checkpoint, a language model (`init_from` reads it as it is),
            missing or unexpected tensors, or a folder with content.
    """
    refuse_content(pathlib.Path(out))
    refuse_language_model(pathlib.Path(source))
    checkpoint = read_checkpoint(source)
    kind = next((kind for kind, c in CONVERTERS.items() if c.recognises(checkpoint.tensors)), None)
    if kind is None:
        first = ", ".join(sorted(checkpoint.tensors)[:3])
        raise UserError(
            f"{source}: its tensors ({first} …) are of none of {', '.join(CONVERTERS)}; name "
            "another checkpoint"
        )
    sizes, params = CONVERTERS[kind].convert(checkpoint)
    params = jax.tree.map(lambda x: np.ascontiguousarray(x, np.float32), params)
    write_converted(out, kind, sizes, params, checkpoint.source())
    unused = tuple(name for name in checkpoint.tensors if CONVERTERS[kind].unused.match(name))
    return Converted(kind, sizes, sum(x.size for x in jax.tree.leaves(params)), unused)
