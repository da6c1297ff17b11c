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
from dualdub_jax.checkpoints.damage import damage_named
from dualdub_jax.checkpoints.public_models import PUBLIC_MODELS
from dualdub_jax.checkpoints.tree_paths import check_shapes, path_name
from dualdub_jax.codecs.base import Codec
from dualdub_jax.codecs.dac.codec import DacCodec
from dualdub_jax.codecs.mimi.codec import MimiCodec
from dualdub_jax.codecs.public_weights import jsonable_sizes
from dualdub_jax.codecs.wavtokenizer.codec import WavTokenizerCodec
from dualdub_jax.codecs.wavtokenizer.config import WavTokenizerConfig
from dualdub_jax.config import from_dict, to_dict
from dualdub_jax.convert import clip, cnn14, mimi, oobleck, siglip, utmos, vggish, wavlm_sv, wavtokenizer
from dualdub_jax.convert.clip import clip_from_torch, is_clip
from dualdub_jax.convert.cnn14 import cnn14_from_torch, is_cnn14
from dualdub_jax.convert.dac import dac_from_torch, is_dac
from dualdub_jax.convert.language_model import refuse_language_model
from dualdub_jax.convert.mimi import is_mimi, mimi_from_torch
from dualdub_jax.convert.oobleck import is_oobleck, oobleck_from_torch
from dualdub_jax.convert.public_files import PublicCheckpoint, read_checkpoint
from dualdub_jax.convert.published_codes import check_tone
from dualdub_jax.convert.siglip import is_siglip, siglip_from_torch
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
from dualdub_jax.encoders.siglip import SiglipTower
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


def _mimi(checkpoint: PublicCheckpoint) -> tuple[dict[str, Any], PyTree]:
    config, variables = mimi_from_torch(checkpoint.tensors, checkpoint.where, checkpoint.config)
    return _codec(MimiCodec, config, variables, checkpoint)


def _codec(
    codec: type[Codec], config: Any, variables: PyTree, checkpoint: PublicCheckpoint
) -> tuple[dict[str, Any], PyTree]:
    sizes = _checked_sizes(config, checkpoint)
    shapes = jax.eval_shape(lambda: codec.init(config, jax.random.key(0)))
    check_shapes(shapes, variables, checkpoint.where)
    return {key: sizes[key] for key in jsonable_sizes(config)}, variables


def _clip(checkpoint: PublicCheckpoint) -> tuple[dict[str, Any], PyTree]:
    return _tower(ClipTower, clip_from_torch, checkpoint)


def _siglip(checkpoint: PublicCheckpoint) -> tuple[dict[str, Any], PyTree]:
    return _tower(SiglipTower, siglip_from_torch, checkpoint)


def _tower(
    tower: type[nn.Module], from_torch: Callable[..., tuple[Any, PyTree]], checkpoint: PublicCheckpoint
) -> tuple[dict[str, Any], PyTree]:
    config, params = from_torch(
        checkpoint.tensors, checkpoint.where, checkpoint.config, checkpoint.preprocessor
    )
    sizes = _checked_sizes(config, checkpoint)
    images = np.zeros((1, config.image_size, config.image_size, 3), np.uint8)
    _check(tower(config), params, checkpoint, images)
    return sizes, params


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
    sizes = _checked_sizes(config, checkpoint)
    check_shapes(abstract_autoencoder(config), params, checkpoint.where)
    return sizes, params


def _checked_sizes(config: Any, checkpoint: PublicCheckpoint) -> dict[str, Any]:
    """A config's values as JSON keeps them.

    Raises:
        UserError: one of another type, or a number that is not positive, both of which are config.json's.
    """
    sizes = to_dict(config)
    where = f"{checkpoint.where}: config.json"
    from_dict(sizes, type(config), where)
    for key, value in sizes.items():
        numbers = value if isinstance(value, list) else [value]
        if key not in _MAY_BE_ZERO and any(isinstance(x, int | float) and x <= 0 for x in numbers):
            raise UserError(f"{where}.{key}: expected more than 0, got {value!r}; download it again")
    return sizes


_MAY_BE_ZERO = ("embedding_dim", "use_conv_shortcut", "pixel_mean")


CONVERTERS: dict[str, Converter] = {
    "wavtokenizer": Converter(is_wavtokenizer, _wavtokenizer, wavtokenizer.UNUSED),
    "dac": Converter(is_dac, _dac),
    "mimi": Converter(is_mimi, _mimi, mimi.UNUSED),
    "oobleck": Converter(is_oobleck, _oobleck, oobleck.UNUSED),
    "clip": Converter(is_clip, _clip, clip.UNUSED),
    "siglip": Converter(is_siglip, _siglip, siglip.UNUSED),
    "cnn14": Converter(is_cnn14, _cnn14, cnn14.UNUSED),
    "vggish": Converter(is_vggish, _vggish, vggish.UNUSED),
    "utmos": Converter(is_utmos, _utmos, utmos.UNUSED),
    "wavlm_sv": Converter(is_wavlm_sv, _wavlm_sv, wavlm_sv.UNUSED),
}


# Of config.json, and what the tensors give.
_STATED_SIZES = {
    "num_hidden_layers": "num_layers",
    "decoder_num_layers": "decoder_num_blocks",
    "n_codebooks": "num_codebooks",
    "num_quantizers": "num_codebooks",
}


class Converted(NamedTuple):
    """What was written.

    Attributes:
        kind: key of `CONVERTERS`.
        sizes: of the architecture, as the folder's config.json has them.
        num_parameters: in total.
        unused: names of the source's tensors that the model does not need, such as discriminators.
        check: one line, the comparison with codes that are known of a published checkpoint; "" if none are.
    """

    kind: str
    sizes: dict[str, Any]
    num_parameters: int
    unused: tuple[str, ...]
    check: str

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
    sizes, params = _converted(kind, checkpoint)
    write_converted(out, kind, sizes, params, checkpoint.source())
    unused = tuple(name for name in checkpoint.tensors if CONVERTERS[kind].unused.match(name))
    check = ""
    if kind == "wavtokenizer":
        check = check_tone(from_dict(sizes, WavTokenizerConfig, str(source)), params)
    return Converted(kind, sizes, sum(x.size for x in jax.tree.leaves(params)), unused, check)


def _converted(kind: str, checkpoint: PublicCheckpoint) -> tuple[dict[str, Any], PyTree]:
    """Sizes and float32 parameters, both checked."""
    title = PUBLIC_MODELS[kind].title
    # Shapes and settings of another model fail in any place of a conversion, with errors of any type.
    with damage_named(
        f"{checkpoint.where}: its tensors and its config.json are not those of {title} and",
        "is it another model's checkpoint, or is its config.json missing?",
    ):
        sizes, params = CONVERTERS[kind].convert(checkpoint)
        params = jax.tree.map(lambda x: np.ascontiguousarray(x, np.float32), params)
    settings = checkpoint.config.get("vision_config") or checkpoint.config
    for theirs, ours in _STATED_SIZES.items():
        if theirs in settings and ours in sizes and settings[theirs] != sizes[ours]:
            raise UserError(
                f"{checkpoint.where}: holds {sizes[ours]} of the {settings[theirs]!r} {theirs} that its "
                "config.json states; download it again"
            )
    for path, x in jax.tree.leaves_with_path(params):
        if not np.isfinite(x).all():
            raise UserError(
                f"{checkpoint.where}: its tensor for {path_name(path)} holds values that are not numbers; "
                "download it again"
            )
    return sizes, params
