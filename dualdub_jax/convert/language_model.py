"""Public language models of the Llama and Qwen family: recognised, and compared with the config's backbone.

A folder as Hugging Face writes it has the sizes in `config.json` and one tensor a layer and projection; the
backbone stacks those of all layers. Nothing is converted beforehand: `onto_mesh.py` reads tensors where they
belong. Rotary positions are half-split in Hugging Face's format, as in the backbone.
"""

import functools
import json
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from dualdub_jax.checkpoints.damage import damage_named
from dualdub_jax.config import ModelConfig
from dualdub_jax.convert.language_model_config import (
    FAMILIES,
    Setting,
    refuse_other_models,
    settings_of,
    sliding_window,
)
from dualdub_jax.convert.tensor_files import PublicTensor, list_tensors
from dualdub_jax.errors import UserError, UserErrors

KEY = "init_from.backbone"
EMBEDDING = "embed_tokens.weight"
_NORM = "norm.weight"
# Our names below "layers", and theirs below a layer; kernels are transposed.
_LAYER = {
    "attention_norm/scale": "input_layernorm.weight",
    "attention/query/kernel": "self_attn.q_proj.weight",
    "attention/key/kernel": "self_attn.k_proj.weight",
    "attention/value/kernel": "self_attn.v_proj.weight",
    "attention/query/bias": "self_attn.q_proj.bias",
    "attention/key/bias": "self_attn.k_proj.bias",
    "attention/value/bias": "self_attn.v_proj.bias",
    "attention/query_norm/scale": "self_attn.q_norm.weight",
    "attention/key_norm/scale": "self_attn.k_norm.weight",
    "attention/out/kernel": "self_attn.o_proj.weight",
    "mlp_norm/scale": "post_attention_layernorm.weight",
    "mlp/gate/kernel": "mlp.gate_proj.weight",
    "mlp/up/kernel": "mlp.up_proj.weight",
    "mlp/down/kernel": "mlp.down_proj.weight",
}
_UNUSED = re.compile(r"lm_head\.weight|(.*\.)?rotary_emb\.inv_freq")
_FEED_FORWARD = re.compile(r"(model\.)?layers\.\d+\.mlp\.gate_proj\.weight")
_MAX_LISTED = 4


class LanguageModel(NamedTuple):
    """A public language model on disk.

    Attributes:
        where: its folder, as it was named.
        family: of `FAMILIES`.
        settings: by key of `config.model`, such as "width".
        window: positions that its attention reaches back; 0: all.
        tensors: by name below the model, such as "layers.0.mlp.up_proj.weight".
        prefix: of full names.
        unused: full names of tensors that the backbone has no use for.
    """

    where: str
    family: str
    settings: Mapping[str, Setting]
    window: int
    tensors: Mapping[str, PublicTensor]
    prefix: str
    unused: tuple[str, ...]

    def named(self, name: str) -> str:
        """A tensor's full name and its shape, for messages."""
        return f"{self.prefix}{name} {list(self.tensors[name].shape)}"


def refuse_language_model(source: pathlib.Path) -> None:
    """Raises a `UserError` if a file or folder to convert is a language model, which needs no conversion."""
    if source.is_dir():
        is_one = _family_of(source) in FAMILIES
    else:
        is_one = any(_FEED_FORWARD.fullmatch(name) for name in _names_in(source))
    if is_one:
        folder = source if source.is_dir() else source.parent
        raise UserError(
            f"{source}: is a language model, which needs no conversion; start a backbone from it: "
            f"dualdub train --config.{KEY}={folder} (docs/weights.md)"
        )


def open_language_model(folder: pathlib.Path, where: str) -> LanguageModel:
    """Reads config.json and the headers of the files, and checks them against each other.

    Args:
        folder: on this machine.
        where: how messages name it.

    Raises:
        UserError: another folder or model, a setting or tensor that the backbone does not support, missing
            or unexpected tensors, or shapes that are not those of config.json.
    """
    _refuse_other_folders(folder, where)
    with damage_named(f"{KEY}={where}: its config.json", "download it again"):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        refuse_other_models(config, f"{KEY}={where}")
        settings = settings_of(config)
        expected = _shapes({key: setting.value for key, setting in settings.items()})
    found = list_tensors(folder)
    prefix = "model." if f"model.{_NORM}" in found else ""
    unused = tuple(name for name in found if _UNUSED.fullmatch(name))
    tensors = {name.removeprefix(prefix): x for name, x in found.items() if name not in unused}
    model = LanguageModel(
        where, config["model_type"], settings, sliding_window(config), tensors, prefix, unused
    )
    _check_tensors(model, expected)
    return model


def check_fit(public: LanguageModel, model: ModelConfig, num_positions: int) -> None:
    """Compares a language model with the config's backbone.

    Args:
        public: of `open_language_model`.
        model: of the run.
        num_positions: P + T, of prefix and frames.

    Raises:
        UserErrors: every key that differs, with both values.
    """
    where = f"{KEY}={public.where}"
    ours = {key: functools.reduce(getattr, key.split("."), model) for key in public.settings}
    shapes = _shapes(ours)
    messages, flags = [], []
    for key, setting in public.settings.items():
        if ours[key] == setting.value:
            continue
        flags.append(f"--config.model.{key}={_argument(setting.value)}")
        its, own = f"its {setting.theirs} is {setting.shown or setting.value}", _argument(ours[key])
        if setting.tensor in public.tensors:
            its += f" ({public.named(setting.tensor)})"
        if setting.tensor in shapes:
            own += f" ({public.prefix}{setting.tensor} {list(shapes[setting.tensor])})"
        messages.append(f"{where}: {its}, but config.model.{key} is {own}; pass {flags[-1]}")
    if len(flags) > 1:
        messages.append(f"{where}: fits with all of {' '.join(flags)}")
    if public.window and num_positions > public.window:
        messages.append(
            f"{where}: its sliding_window is {public.window}, but prefix and frames are {num_positions} "
            "positions; set a smaller config.grid.num_frames"
        )
    if messages:
        raise UserErrors(messages)


def backbone_tensors(public: LanguageModel, ours: str) -> list[PublicTensor]:
    """The tensors of an array of the backbone: one of each layer, or a single one.

    Args:
        public: a language model.
        ours: path below the backbone, such as "layers/mlp/up/kernel" or "norm/scale".
    """
    if not ours.startswith("layers/"):
        return [public.tensors[_NORM]]
    name = _LAYER[ours.removeprefix("layers/")]
    return [public.tensors[f"layers.{i}.{name}"] for i in range(public.settings["num_layers"].value)]


def _family_of(folder: pathlib.Path) -> str | None:
    """`model_type` of a folder's config.json, if it has one."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config.get("model_type") if isinstance(config, dict) else None


def _names_in(file: pathlib.Path) -> Iterable[str]:
    """Names of the tensors of a file; none if it is something else, which others report."""
    try:
        return list_tensors(file)
    except UserError:
        return ()


def _refuse_other_folders(folder: pathlib.Path, where: str) -> None:
    if folder.is_file():
        raise UserError(f"{KEY}={where}: is a file; name its folder, with config.json")
    if not folder.is_dir():
        raise UserError(
            f"{KEY}={where}: no such folder; download a model, such as: "
            "hf download princeton-nlp/Sheared-LLaMA-1.3B --local-dir DIR"
        )
    if (folder / "config.json").is_file():
        return
    if (folder / "params.json").is_file() or any(folder.glob("consolidated.*")):
        raise UserError(
            f"{KEY}={where}: is in Meta's format, whose rotary positions are interleaved; name the model in "
            "Hugging Face's format, with config.json"
        )
    raise UserError(
        f"{KEY}={where}: has no config.json; name a folder as Hugging Face writes it, with config.json and "
        "model.safetensors"
    )


def _shapes(settings: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors of a model with these settings, but the embedding."""
    width, mlp, head_dim = settings["width"], settings["mlp_width"], settings["head_dim"]
    heads, kv_heads = settings["num_heads"] * head_dim, settings["num_kv_heads"] * head_dim
    layer = {
        "input_layernorm.weight": (width,),
        "self_attn.q_proj.weight": (heads, width),
        "self_attn.k_proj.weight": (kv_heads, width),
        "self_attn.v_proj.weight": (kv_heads, width),
        "self_attn.o_proj.weight": (width, heads),
        "post_attention_layernorm.weight": (width,),
        "mlp.gate_proj.weight": (mlp, width),
        "mlp.up_proj.weight": (mlp, width),
        "mlp.down_proj.weight": (width, mlp),
    }
    if settings["use_qkv_bias"]:
        layer |= {f"self_attn.{x}_proj.bias": (heads if x == "q" else kv_heads,) for x in "qkv"}
    if settings["use_qk_norm"]:
        layer |= {f"self_attn.{x}_norm.weight": (head_dim,) for x in "qk"}
    layers = range(settings["num_layers"])
    return {f"layers.{i}.{name}": shape for i in layers for name, shape in layer.items()} | {_NORM: (width,)}


def _check_tensors(public: LanguageModel, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Checks that the files have the tensors that config.json implies, of its shapes, and no others."""
    where, tensors = f"{KEY}={public.where}", public.tensors
    if missing := [name for name in expected if name not in tensors]:
        raise UserError(
            f"{where}: lacks {_listed(public, missing)}, which its config.json implies; download it again"
        )
    if unexpected := [name for name in tensors if name not in expected and name != EMBEDDING]:
        raise UserError(
            f"{where}: holds {_listed(public, unexpected)}, for which its config.json or the backbone has "
            "no place; name another model"
        )
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            raise UserError(
                f"{where}: {public.named(name)} is {list(shape)} by its config.json, that of another model; "
                "download both again"
            )
    for name, tensor in tensors.items():
        if not isinstance(tensor.dtype, np.dtype):
            raise UserError(
                f"{where}: {public.named(name)} is of dtype {tensor.dtype}, expected a floating-point one; "
                "download the model that is not quantised"
            )


def _listed(public: LanguageModel, names: list[str]) -> str:
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(f"{public.prefix}{name}" for name in names[:_MAX_LISTED]) + more


def _argument(value: Any) -> str:
    """As `--config.KEY=` takes it."""
    return value if isinstance(value, str) else json.dumps(value)
