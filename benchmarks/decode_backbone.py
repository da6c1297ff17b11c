"""The contestants of `decode.py` that run the backbone alone, as a language model."""

import functools
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import train_step
from decode_work import (
    COMPARED_FRAMES,
    TIMED_FRAMES,
    Work,
    bytes_of_backbone,
    our_reads,
    part_of,
    shapes_of,
    torch_reads,
)

from dualdub_jax.checkpoints.tree_paths import path_name
from dualdub_jax.models.backbone import TransformerBackbone
from dualdub_jax.models.dualdub import prefix_causal_mask

VOCABULARY, PREFIX = 1024, 64


def our_backbone(size: str, batch_size: int, folder: pathlib.Path, threads: int) -> Work:
    """Our backbone as a language model: greedy decoding by a scan over positions."""
    config = train_step.config_of(size).model
    num_frames = train_step.config_of(size).grid.num_frames
    backbone = TransformerBackbone(config)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(
        lambda key: nn.unbox(
            backbone.init(key, jnp.zeros((1, 2, config.width)), jnp.ones((1, 2, 2), bool), jnp.arange(2))
        )["params"],
        jax.random.key(0),
    )
    params = jax.tree.map_with_path(
        lambda path, x: train_step.random_parameter(path_name(path), x.shape, rng), shapes
    )
    embedding = rng.standard_normal((VOCABULARY, config.width), np.float32)
    out = rng.standard_normal((config.width, VOCABULARY), np.float32) * config.width**-0.5
    prompt = rng.integers(0, VOCABULARY, (batch_size, PREFIX), np.int32)
    np.savez(folder / "start.npz", embedding=embedding, out=out, prompt=prompt,
             **train_step.flat(params, "params/"))  # fmt: skip
    shapes = shapes_of(params)
    unstacked = backbone.bind({"params": params}).unstacked(params)  # as `dualdub dub` on a CPU
    weights = jax.device_put((unstacked, embedding, out))

    @functools.partial(jax.jit, static_argnames="count")
    def generate(weights: Any, prompt: jax.Array, count: int) -> jax.Array:
        params, embedding, out = weights
        length = PREFIX + num_frames
        apply = functools.partial(backbone.apply, {"params": params})
        cache = apply(prompt.shape[0], length, method="empty_cache")
        mask = prefix_causal_mask(jnp.ones(prompt.shape, bool), num_frames, is_prefix_causal=True)
        state, cache = apply(embedding[prompt], mask[:, :PREFIX], jnp.arange(PREFIX), cache, 0)
        token = jnp.argmax(state[:, -1] @ out, axis=-1)

        def step(carry: tuple, position: jax.Array) -> tuple:
            token, cache = carry
            seen = (jnp.arange(length) <= position)[None, None]
            state, cache = apply(embedding[token][:, None], seen, position[None], cache, position)
            new = jnp.argmax(state[:, 0] @ out, axis=-1)
            return (new, cache), new

        _, rest = jax.lax.scan(step, (token, cache), PREFIX + jnp.arange(count - 1))
        return jnp.concatenate([token[None], rest]).T

    run = lambda count: jax.block_until_ready(generate(weights, prompt, count))  # noqa: E731
    np.save(folder / "tokens.npy", np.asarray(run(COMPARED_FRAMES)))
    read = bytes_of_backbone(config, shapes, batch_size, PREFIX + num_frames) + 4 * out.size
    return Work(lambda: run(num_frames), lambda: run(1), num_frames, read, our_reads())


def torch_backbone(size: str, batch_size: int, folder: pathlib.Path, threads: int) -> Work:
    """Hugging Face's class of the same backbone; its greedy tokens must be ours."""
    import torch
    import transformers

    torch.set_num_threads(threads)
    config, grid = train_step.config_of(size).model, train_step.config_of(size).grid
    start = dict(np.load(folder / "start.npz"))
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    if config.use_qk_norm:
        model = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**sizes))
    else:
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
    model.load_state_dict({name: torch.from_numpy(x) for name, x in hugging_face_names(start)})
    model.eval()
    prompt = torch.from_numpy(start["prompt"]).long()

    def run(count: int) -> np.ndarray:
        with torch.inference_mode():
            tokens = model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                do_sample=False,
                min_new_tokens=count,
                max_new_tokens=count,
                cache_implementation="static",
            )
        return tokens[:, PREFIX:].numpy()

    expected = np.load(folder / "tokens.npy")
    if (share := np.mean(run(COMPARED_FRAMES) == expected)) < 1:
        sys.exit(f"transformers differs: {share:.1%} of the greedy tokens are equal")
    shapes = {name: value.shape for name, value in part_of(start, "params/")}
    num_frames = min(grid.num_frames, TIMED_FRAMES)
    read = bytes_of_backbone(config, shapes, batch_size, PREFIX + grid.num_frames) + 4 * start["out"].size
    return Work(lambda: run(num_frames), lambda: run(1), num_frames, read, torch_reads())


def hugging_face_names(start: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Our parameters by the names of Llama and Qwen3."""
    yield "model.embed_tokens.weight", start["embedding"]
    yield "lm_head.weight", np.ascontiguousarray(start["out"].T)
    names = {
        "attention_norm/scale": "input_layernorm",
        "mlp_norm/scale": "post_attention_layernorm",
        "attention/query/kernel": "self_attn.q_proj",
        "attention/key/kernel": "self_attn.k_proj",
        "attention/value/kernel": "self_attn.v_proj",
        "attention/out/kernel": "self_attn.o_proj",
        "attention/query_norm/scale": "self_attn.q_norm",
        "attention/key_norm/scale": "self_attn.k_norm",
        "mlp/gate/kernel": "mlp.gate_proj",
        "mlp/up/kernel": "mlp.up_proj",
        "mlp/down/kernel": "mlp.down_proj",
    }
    for name, value in part_of(start, "params/"):
        if name == "norm/scale":
            yield "model.norm.weight", value
            continue
        for i, layer in enumerate(value):
            layer = layer.T if name.endswith("kernel") else layer
            yield (
                f"model.layers.{i}.{names[name.removeprefix('layers/')]}.weight",
                np.ascontiguousarray(layer),
            )
