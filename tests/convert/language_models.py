"""Golden language models: their folders as Hugging Face writes them, and configs whose backbone they fit."""

import dataclasses
import functools
import json
import pathlib
from typing import Any

import ml_dtypes
import numpy as np
import safetensors.numpy

from dualdub_jax.config import Config, RopeScalingConfig
from tests.convert.ports import write_torch_file
from tests.tiny import tiny_config

NAMES = ("llama", "llama_linear", "llama3", "qwen2", "qwen3")
_GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "language_models.npz"


@functools.cache
def arrays() -> dict[str, np.ndarray]:
    with np.load(_GOLDEN) as file:
        return {name: file[name] for name in file.files}


def weights(model: str) -> dict[str, np.ndarray]:
    """The public state dict, float16 numbers that are exact."""
    start = f"{model}/weights/"
    return {name.removeprefix(start): x for name, x in arrays().items() if name.startswith(start)}


def settings(model: str) -> dict[str, Any]:
    """Of its config.json."""
    return json.loads(str(arrays()[f"{model}/config"]))


def write_folder(
    path: pathlib.Path,
    model: str,
    *,
    num_files: int = 1,
    is_torch: bool = False,
    state: dict[str, np.ndarray] | None = None,
    **changes: Any,
) -> pathlib.Path:
    """Writes a folder.

    Args:
        path: new.
        model: of `NAMES`.
        num_files: among which the tensors are dealt.
        is_torch: as files of torch.save.
        state: tensors in place of the model's.
        changes: keys of config.json; None: removed.
    """
    path.mkdir()
    config = {key: x for key, x in (settings(model) | changes).items() if x is not None}
    (path / "config.json").write_text(json.dumps(config))
    state = weights(model) if state is None else state
    stem, end = ("pytorch_model", "bin") if is_torch else ("model", "safetensors")
    index = {}
    for i in range(num_files):
        file = f"{stem}.{end}" if num_files == 1 else f"{stem}-{i + 1:05}-of-{num_files:05}.{end}"
        part = {name: state[name] for name in list(state)[i::num_files]}
        if is_torch:
            write_torch_file(path / file, part)
        else:
            safetensors.numpy.save_file(part, path / file)
        index |= dict.fromkeys(part, file)
    if num_files > 1:
        (path / f"{stem}.{end}.index.json").write_text(json.dumps({"weight_map": index}))
    return path


def config_of(model: str, folder: pathlib.Path | str, **changes: Any) -> Config:
    """A tiny run whose backbone is that of a golden model."""
    public = settings(model)
    rope = public["rope_parameters"]
    scaling = RopeScalingConfig()
    if rope["rope_type"] != "default":
        scaling = RopeScalingConfig(rope["rope_type"], rope["factor"])
    if rope["rope_type"] == "llama3":
        scaling = dataclasses.replace(scaling, original_length=16)
    config = tiny_config()
    sizes = dataclasses.replace(
        config.model,
        width=public["hidden_size"],
        num_layers=public["num_hidden_layers"],
        num_heads=public["num_attention_heads"],
        num_kv_heads=public["num_key_value_heads"],
        head_dim=public.get("head_dim") or public["hidden_size"] // public["num_attention_heads"],
        mlp_width=public["intermediate_size"],
        use_qkv_bias=model == "qwen2",
        use_qk_norm=model == "qwen3",
        rms_norm_eps=public["rms_norm_eps"],
        rope_theta=rope["rope_theta"],
        rope_scaling=scaling,
        script_vocab_size=public["vocab_size"],
        **changes,
    )
    init_from = dataclasses.replace(config.init_from, backbone=str(folder))
    return dataclasses.replace(config, model=sizes, init_from=init_from)


def bfloat16(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As most public models are stored."""
    return {name: x.astype(ml_dtypes.bfloat16) for name, x in state.items()}
