"""Folders of language models of any size that take no space: headers, and holes that read as zeros."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

_BYTES = {"BF16": 2, "F16": 2, "F32": 4}


def write_sparse_folder(
    path: pathlib.Path, config: Mapping[str, Any], *, dtype: str = "BF16", layers_per_file: int = 8
) -> pathlib.Path:
    """Writes a folder as Hugging Face does.

    Args:
        path: new.
        config: of its config.json.
        dtype: name in safetensors.
        layers_per_file: of each file; the embedding and the rest are in the first and the last.
    """
    path.mkdir()
    (path / "config.json").write_text(json.dumps(dict(config)))
    num_layers = config["num_hidden_layers"]
    starts = range(0, num_layers, layers_per_file)
    index, num_parameters = {}, 0
    for i, start in enumerate(starts):
        file = f"model-{i + 1:05}-of-{len(starts):05}.safetensors"
        shapes = _layers(config, range(start, min(start + layers_per_file, num_layers)))
        if i == 0:
            shapes["model.embed_tokens.weight"] = [config["vocab_size"], config["hidden_size"]]
        if i == len(starts) - 1:
            shapes["model.norm.weight"] = [config["hidden_size"]]
            if not config.get("tie_word_embeddings"):
                shapes["lm_head.weight"] = [config["vocab_size"], config["hidden_size"]]
        num_parameters += _write_sparse_file(path / file, shapes, dtype)
        index |= dict.fromkeys(shapes, file)
    metadata = {"total_parameters": num_parameters, "total_size": num_parameters * _BYTES[dtype]}
    (path / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": metadata, "weight_map": index})
    )
    return path


def _layers(config: Mapping[str, Any], layers: range) -> dict[str, list[int]]:
    width, mlp, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    head_dim = config.get("head_dim") or width // heads
    sizes = {"q": heads * head_dim, "k": config["num_key_value_heads"] * head_dim}
    sizes["v"] = sizes["k"]
    layer = {"input_layernorm.weight": [width], "post_attention_layernorm.weight": [width]}
    layer |= {f"self_attn.{x}_proj.weight": [size, width] for x, size in sizes.items()}
    layer |= {"self_attn.o_proj.weight": [width, sizes["q"]], "mlp.down_proj.weight": [width, mlp]}
    layer |= {f"mlp.{x}_proj.weight": [mlp, width] for x in ("gate", "up")}
    if config["model_type"] == "qwen2":
        layer |= {f"self_attn.{x}_proj.bias": [size] for x, size in sizes.items()}
    if config["model_type"] == "qwen3":
        layer |= {f"self_attn.{x}_norm.weight": [head_dim] for x in "qk"}
    return {f"model.layers.{i}.{name}": shape for i in layers for name, shape in layer.items()}


def _write_sparse_file(path: pathlib.Path, shapes: Mapping[str, list[int]], dtype: str) -> int:
    """Writes a file of safetensors; returns its number of parameters."""
    header: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        size = _BYTES[dtype]
        for n in shape:
            size *= n
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return end // _BYTES[dtype]
