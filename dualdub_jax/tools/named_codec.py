"""Any codec by name: converted public weights, or a codec of a bundle."""

import dataclasses
import functools
import math
import pathlib

from flax import traverse_util

from dualdub_jax.bundles.bundle import (
    default_bundle_path,
    read_arrays,
    read_bundle_header,
    sharded_params,
    stored_shapes,
)
from dualdub_jax.checkpoints.converted import converted_kind, read_sizes
from dualdub_jax.checkpoints.public_models import PUBLIC_MODELS
from dualdub_jax.checkpoints.tree_paths import check_shapes
from dualdub_jax.codecs.base import Codec
from dualdub_jax.codecs.registry import CODECS, codec_class, codec_config
from dualdub_jax.config import from_dict
from dualdub_jax.data_pipeline.derivations import fingerprint_of
from dualdub_jax.errors import UserError
from dualdub_jax.parts.import_path import check_trusted
from dualdub_jax.stores.path import StorePath, absolute, as_path, is_remote
from dualdub_jax.types import STREAMS, Stream

DEFAULT = "default"  # the bundled model


@dataclasses.dataclass(frozen=True)
class NamedCodec:
    """A codec at its own frame rate.

    Attributes:
        name: that finds it again, absolute where it is a path.
        kind: of the codec.
        codec: bound to its variables.
    """

    name: str
    kind: str
    codec: Codec

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the codec's rates and with any of its variables."""
        return fingerprint_of([self.codec.spec], self.codec.variables)

    @property
    def summary(self) -> str:
        """One line: rates, codebooks, tokens and bits a second."""
        spec = self.codec.spec
        per_s = float(spec.frame_rate * spec.num_codebooks)
        bits = float(spec.frame_rate) * bits_per_frame(self.codec)
        return (
            f"{self.kind}: {spec.sample_rate_hz} Hz, {float(spec.frame_rate):g} frames/s, "
            f"{spec.num_codebooks} of {spec.codebook_size} codes each: {per_s:g} tokens/s, {bits:.0f} bits/s"
        )


def bits_per_frame(codec: Codec) -> float:
    """Bits of a frame's tokens without entropy coding, log2 of the codebook's size each."""
    return codec.spec.num_codebooks * math.log2(codec.spec.codebook_size)


def load_codec(
    name: str, num_codebooks: int | None = None, allow_code: bool = False, *, file: pathlib.Path | None = None
) -> NamedCodec:
    """Loads a codec.

    Args:
        name: a folder of `dualdub convert`; or a bundle ("default": the bundled one), with ":speech" or
            ":background" behind it where its codecs differ.
        num_codebooks: use the first ones only, of converted weights; None: all.
        allow_code: import a class that a bundle's config names from outside of this package, which executes
            code.
        file: whose tokens have so many codebooks, for messages; None: the user asked for so many.

    Raises:
        UserError: nothing is there, or no codec; a stream is missing or unknown; as `load_bundle`.
    """
    text, separator, stream = name.rpartition(":")
    if not separator or stream not in STREAMS:
        text, stream = name, ""
    path = default_bundle_path() if text == DEFAULT else absolute(as_path(text, "--codec"))
    kind = None if is_remote(path) else converted_kind(path)
    if kind is None:
        named = _of_bundle(text, path, stream, allow_code)
        own = named.codec.spec.num_codebooks
        if num_codebooks not in (None, own):
            if file is not None:
                raise UserError(
                    f"{file}: holds tokens of {num_codebooks} codebooks, but the codec {named.name} has "
                    f"{own}; name the codec that made it"
                )
            raise UserError(
                f"--codebooks {num_codebooks}: the codec {named.name} has {own}, and only converted weights "
                "are used in part; leave the option out"
            )
        return named
    if stream:
        raise UserError(f"--codec {name}: {path} holds one codec, not one a stream; leave out :{stream}")
    return NamedCodec(str(path), kind, _converted(path, kind, num_codebooks))


def _converted(path: pathlib.Path, kind: str, num_codebooks: int | None) -> Codec:
    if kind not in CODECS.known:
        title = PUBLIC_MODELS[kind].title if kind in PUBLIC_MODELS else kind
        raise UserError(f"{path}: holds {title}, which is not a codec; give one of {', '.join(CODECS.known)}")
    found, _ = CODECS.find(kind)
    values = {**read_sizes(path, kind), "path": str(path)}
    if num_codebooks is not None:
        if "num_codebooks" not in values and num_codebooks != 1:
            raise UserError(f"--codebooks {num_codebooks}: {path} has 1; leave the option out")
        values |= {"num_codebooks": num_codebooks} if "num_codebooks" in values else {}
    config = from_dict(values, found.Config, str(path))
    return found(config, found.pretrained(config))


def _of_bundle(text: str, path: StorePath, stream: Stream | str, allow_code: bool) -> NamedCodec:
    if not is_remote(path) and not (path / "config.json").is_file():
        raise UserError(
            f"--codec {text}: no folder of dualdub convert and no bundle; give one, or default:speech or "
            "default:background"
        )
    config = read_bundle_header(path).config
    if not stream:
        first = " or ".join(f"--codec {text}:{name}" for name in STREAMS)
        raise UserError(f"--codec {text}: a bundle has a codec for each stream; say {first}")
    check_trusted(config, str(path), allow_code)
    part = f"{stream}_codec"
    shapes = sharded_params(config, None, [part])
    stored = {name: x for name, x in stored_shapes(path).items() if name.startswith(f"{part}/")}
    check_shapes(shapes, traverse_util.unflatten_dict(stored, sep="/"), str(path))
    found, settings = codec_class(config, stream), codec_config(config, stream)
    codec = found(settings, read_arrays(path, shapes)[part])
    name = f"{DEFAULT if text == DEFAULT else path}:{stream}"
    return NamedCodec(name, config.streams[stream].codec.kind, codec)
