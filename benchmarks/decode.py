"""Compares generation of a window with the same model in PyTorch, and with the bound of memory bandwidth.

    pip install -e '.[bench]' transformers
    python benchmarks/decode.py                                   # puppet (7M) and 50m, batches of 1 and 8
    python benchmarks/decode.py --sizes puppet --batch-sizes 1 --repeats 3

`whole` is the whole model: ours is `generate_tokens` as `dualdub dub` runs it, the twin an eager loop with
static caches (`torch_decode.py`). `backbone` is the backbone alone as a language model with a vocabulary of
`VOCABULARY`: ours a scan over positions, the other `generate` of Hugging Face's Llama or Qwen3 class with a
static cache. All run in float32, without guidance, on the same random parameters; greedy tokens of the first
`COMPARED_FRAMES` frames must be equal, otherwise the exit status is 1. Times are then taken with sampling at
the config's temperatures (the backbone: greedy), on a whole window, after compilation and a first run.

Each contestant runs in a process of its own, pinned to the same `--threads` cores, in turns. Frames a second
are those of all clips of the batch. The first frame includes the encoders and the prefix; the frames after
it are timed by the difference. The bound is the time in which the weights that a frame needs, and the keys
and values of the cache, can be read once, at the bandwidth that is measured in the same process: the best of
a sum and of matrix-vector products over 256 MB. A model that fits the processor's cache may exceed it. Memory
is the peak resident set of the process after compilation. CPU seconds are those of all threads. The table has
medians over the repeats; the last line is JSON.
"""

import argparse
import functools
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import train_step
from train_step import clock, forget_peak_memory, peak_memory

from dualdub_jax.checkpoints.tree_paths import path_name
from dualdub_jax.config import Config, ModelConfig
from dualdub_jax.dubbing.generation import generate_tokens
from dualdub_jax.dubbing.sampling import StreamSampling
from dualdub_jax.models.backbone import TransformerBackbone
from dualdub_jax.models.batch import example_batch
from dualdub_jax.models.dualdub import make_model, prefix_causal_mask
from dualdub_jax.types import STREAMS, Batch

COMPARED_FRAMES, VOCABULARY, PREFIX = 25, 1024, 64
_BANDWIDTH_BYTES = 256 << 20
Shapes = dict[str, tuple[int, ...]]  # of parameters, by path
_ROOT = pathlib.Path(__file__).parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--sizes", default="puppet,50m", help="comma-separated model sizes")
    parser.add_argument("--batch-sizes", default="1,8", help="clips at a time")
    parser.add_argument("--parts", default="whole,backbone")
    parser.add_argument("--threads", type=int, default=min(2, cores))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        serve(args)
        return 0
    figures: dict[str, float] = {"threads": args.threads, "repeats": args.repeats}
    print(
        f"{'size':<8} {'part':<9} {'batch':>5} {'who':<5} {'frames/s':>9} {'CPU ms/frame':>13} "
        f"{'first ms':>9} {'of the bound':>13} {'peak GB':>8}"
    )
    for size in args.sizes.split(","):
        for part in args.parts.split(","):
            for batch_size in map(int, args.batch_sizes.split(",")):
                figures |= compare(size, part, batch_size, args)
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))
    return 0


def compare(size: str, part: str, batch_size: int, args: argparse.Namespace) -> dict[str, float]:
    """Runs both contestants in turns, prints their rows, and returns the figures."""
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        # Ours first: it writes the parameters and the tokens that the other must generate.
        workers = {who: Worker(who, size, part, batch_size, folder, args) for who in ("ours", "torch")}
        turns: dict[str, list[dict[str, float]]] = {who: [] for who in workers}
        for _ in range(args.repeats):
            for who, worker in workers.items():
                turns[who].append(worker.ask())
        for worker in workers.values():
            worker.close()
    bandwidth = max(turn["bytes_per_s"] for of_one in turns.values() for turn in of_one)
    for who, of_one in turns.items():
        middle = {name: statistics.median(turn[name] for turn in of_one) for name in of_one[0]}
        rate = batch_size / middle["frame_s"]
        share = middle["frame_bytes"] / bandwidth / middle["frame_s"]
        gigabytes = max(turn["peak_bytes"] for turn in of_one) / 1e9
        print(
            f"{size:<8} {part:<9} {batch_size:5d} {who:<5} {rate:9.1f} {1e3 * middle['frame_cpu_s']:13.2f} "
            f"{1e3 * middle['first_s']:9.1f} {share:13.1%} {gigabytes:8.2f}",
            flush=True,
        )
        key = f"{size}_{part}_{batch_size}_{who}"
        figures |= {f"frames_per_s_{key}": rate, f"first_frame_s_{key}": middle["first_s"]}
        figures |= {f"share_of_bound_{key}": share, f"peak_gb_{key}": gigabytes}
        figures |= {f"cpu_s_per_frame_{key}": middle["frame_cpu_s"]}
    key = f"{size}_{part}_{batch_size}"
    for name in ("frames_per_s", "first_frame_s", "cpu_s_per_frame"):
        ours, other = figures[f"{name}_{key}_ours"], figures[f"{name}_{key}_torch"]
        figures[f"ratio_{name}_{key}"] = ours / other if name == "frames_per_s" else other / ours
    print(f"{'':<24} ours is {figures[f'ratio_frames_per_s_{key}']:.2f} times as fast by the clock, "
          f"{figures[f'ratio_cpu_s_per_frame_{key}']:.2f} times by CPU seconds; "
          f"{bandwidth / 1e9:.1f} GB/s")  # fmt: skip
    return figures | {f"bandwidth_gb_per_s_{key}": bandwidth / 1e9}


class Worker:
    """A process of one contestant; `ask` takes one turn."""

    def __init__(self, who: str, size: str, part: str, batch_size: int, folder: str, args: Any) -> None:
        command = [sys.executable, __file__, "--worker", who, "--sizes", size, "--parts", part]
        command += ["--batch-sizes", str(batch_size), "--folder", folder, "--threads", str(args.threads)]
        environment = os.environ | {"OMP_NUM_THREADS": str(args.threads), "JAX_PLATFORMS": "cpu"}
        environment["PYTHONPATH"] = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._answer()

    def ask(self) -> dict[str, float]:
        self._process.stdin.write("turn\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, float]:
        line = self._process.stdout.readline()
        if not line:
            # The worker has printed its error to stderr.
            sys.exit(self._process.wait() or 1)
        return json.loads(line)


# ------------------------------------------------------------------------------------------ worker processes
class Work(NamedTuple):
    """What a contestant runs.

    Attributes:
        window: generates the whole window and waits for it.
        first: generates the first frame only, encoders included.
        num_frames: of the window.
        frame_bytes: read for one frame: weights once, keys and values of every clip.
        read: reads `_BANDWIDTH_BYTES`, one function for each way.
    """

    window: Callable[[], Any]
    first: Callable[[], Any]
    num_frames: int
    frame_bytes: float
    read: tuple[Callable[[], Any], ...]


def serve(args: argparse.Namespace) -> None:
    """Prepares a contestant and takes a turn for each line."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    make = {"ours": {"whole": our_whole, "backbone": our_backbone},
            "torch": {"whole": torch_whole, "backbone": torch_backbone}}[args.worker][args.parts]  # fmt: skip
    work = make(args.sizes, int(args.batch_sizes), args.folder, args.threads)
    for function in (work.window, work.first, *work.read):
        function()
    forget_peak_memory()
    print(json.dumps({"ready": 1}), flush=True)
    for _ in sys.stdin:
        whole_s, whole_cpu_s = clock(work.window, 1)
        peak_bytes = peak_memory()
        first_s, first_cpu_s = min(clock(work.first, 1) for _ in range(3))
        read_s = min(clock(read, 1)[0] for read in work.read for _ in range(4))
        answer = {
            "frame_s": (whole_s - first_s) / (work.num_frames - 1),
            "frame_cpu_s": (whole_cpu_s - first_cpu_s) / (work.num_frames - 1),
            "first_s": first_s,
            "frame_bytes": work.frame_bytes,
            "bytes_per_s": _BANDWIDTH_BYTES / read_s,
            "peak_bytes": peak_bytes,
        }
        print(json.dumps(answer), flush=True)


def our_whole(size: str, batch_size: int, folder: pathlib.Path, threads: int) -> Work:
    """Ours, on random parameters; writes them, the batch, and greedy tokens."""
    config = train_step.config_of(size)
    model = make_model(config)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(
        lambda key: nn.unbox(model.init(key, example_batch(config, 1))["params"]), jax.random.key(0)
    )
    params = jax.tree.map_with_path(
        lambda path, x: train_step.random_parameter(path_name(path), x.shape, rng), shapes
    )
    batch = train_step.random_batch(config, batch_size, False, rng)
    present = {name: value for name, value in vars(batch).items() if value is not None}
    compiled = jax.jit(functools.partial(generate_tokens, model))
    params, batch = jax.device_put((params, batch))

    def generate(part: Batch, is_greedy: bool) -> dict[str, jax.Array]:
        sampling = sampling_of(config, is_greedy)
        return jax.block_until_ready(compiled(params, part, np.int32(0), jax.random.key(1), sampling))

    greedy = generate(batch, True)
    np.savez(
        folder / "start.npz",
        **train_step.flat(params, "params/"),
        **train_step.flat(present, "batch/"),
        **{f"tokens/{stream}": np.asarray(codes)[:, :COMPARED_FRAMES] for stream, codes in greedy.items()},
    )
    first = jax.jit(functools.partial(first_frame, model))
    return Work(
        lambda: generate(batch, False),
        lambda: jax.block_until_ready(
            first(params, batch, jax.random.key(1), sampling_of(config, is_greedy=False))
        ),
        config.grid.num_frames,
        bytes_of_frame(config, shapes_of(params), batch_size),
        our_reads(),
    )


def first_frame(
    model: nn.Module, params: Any, batch: Batch, rng: jax.Array, sampling: dict[str, StreamSampling]
) -> dict[str, jax.Array]:
    """The codes of the first frame: conditions, prefix and one step."""
    from dualdub_jax.dubbing.generation import _next_frame

    variables = {"params": params}
    conditions = model.apply(variables, batch, method="encode")
    cache = model.apply(variables, conditions, method="start")
    previous = {s: jnp.zeros_like(getattr(batch, f"{s}_tokens")[:, 0]) for s in STREAMS}
    step = nn.apply(_next_frame, model)
    return step(variables, conditions, cache, jnp.int32(0), previous, rng, sampling, None, None)[0]


def torch_whole(size: str, batch_size: int, folder: pathlib.Path, threads: int) -> Work:
    """The twin; its greedy tokens must be ours."""
    import torch
    import torch_decode
    import torch_twin

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    start, config = dict(np.load(folder / "start.npz")), train_step.config_of(size)
    model = torch_twin.DualDub(config)
    model.load_state_dict(torch_twin.state_dict_of(dict(_part(start, "params/"))))
    batch = torch_twin.as_tensors(dict(_part(start, "batch/")))
    found = torch_decode.TwinDecoder(model, dict.fromkeys(STREAMS, 0.0)).generate(batch, COMPARED_FRAMES)
    for stream, expected in _part(start, "tokens/"):
        if (share := np.mean(found[stream].numpy() == expected)) < 1:
            sys.exit(f"the twin differs: {share:.1%} of the greedy tokens of {stream} are equal")
    temperatures = {stream: getattr(config.sampling, f"{stream}_temperature") for stream in STREAMS}
    decoder = torch_decode.TwinDecoder(model, temperatures)
    num_frames = config.grid.num_frames
    shapes = {name: value.shape for name, value in _part(start, "params/")}
    return Work(
        lambda: decoder.generate(batch, num_frames),
        lambda: decoder.generate(batch, 1),
        num_frames,
        bytes_of_frame(config, shapes, batch_size),
        torch_reads(),
    )


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
    weights = jax.device_put((params, embedding, out))

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
    read = bytes_of_backbone(config, shapes_of(params), batch_size, PREFIX + num_frames) + 4 * out.size
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
    shapes = {name: value.shape for name, value in _part(start, "params/")}
    num_frames = grid.num_frames
    read = bytes_of_backbone(config, shapes, batch_size, PREFIX + num_frames) + 4 * start["out"].size
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
    for name, value in _part(start, "params/"):
        if name == "norm/scale":
            yield "model.norm.weight", value
            continue
        for i, layer in enumerate(value):
            layer = layer.T if name.endswith("kernel") else layer
            yield (
                f"model.layers.{i}.{names[name.removeprefix('layers/')]}.weight",
                np.ascontiguousarray(layer),
            )


def sampling_of(config: Config, is_greedy: bool) -> dict[str, StreamSampling]:
    """The config's temperatures without truncation, or greedy."""
    return {
        stream: StreamSampling(
            np.float32(0 if is_greedy else getattr(config.sampling, f"{stream}_temperature")),
            np.int32(0),
            np.float32(1),
        )
        for stream in STREAMS
    }


def bytes_of_frame(config: Config, shapes: Shapes, batch_size: int) -> float:
    """Read for one frame: backbone, causal aligner and heads once, caches of every clip in full."""
    grid, aligner = config.grid, config.model.aligner
    parts = (*(f"{stream}_head/{part}" for stream in STREAMS for part in ("project_in", "hidden", "out")),
             "aligner/causal/")  # fmt: skip
    weights = 4 * sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(parts))
    pasts = 4 * 4 * batch_size * grid.num_frames * aligner.num_heads * aligner.head_dim
    length = grid.num_script_tokens + config.model.num_speaker_vectors + grid.num_frames
    backbone = {name: shape for name, shape in shapes.items() if name.startswith("backbone/")}
    return weights + pasts + bytes_of_backbone(config.model, backbone, batch_size, length)


def bytes_of_backbone(config: ModelConfig, shapes: Shapes, batch_size: int, length: int) -> float:
    """Weights once, and the keys and values of every clip in full."""
    cache = 2 * config.num_layers * batch_size * length * config.num_kv_heads * config.head_dim
    return 4 * (sum(map(math.prod, shapes.values())) + cache)


def shapes_of(params: Any) -> Shapes:
    """The shapes of our parameters."""
    return {name: array.shape for name, array in train_step.flat(params, "").items()}


def our_reads() -> tuple[Callable[[], Any], ...]:
    """Two ways of reading memory with JAX."""
    matrix = jnp.ones((_BANDWIDTH_BYTES // 4 // 4096, 4096))
    vector = jnp.ones(4096)
    add, multiply = jax.jit(jnp.sum), jax.jit(jnp.matmul)
    return lambda: add(matrix).block_until_ready(), lambda: multiply(matrix, vector).block_until_ready()


def torch_reads() -> tuple[Callable[[], Any], ...]:
    """Two ways of reading memory with PyTorch."""
    import torch

    matrix, vector = torch.ones(_BANDWIDTH_BYTES // 4 // 4096, 4096), torch.ones(4096)
    return lambda: matrix.sum(), lambda: matrix @ vector


def _part(arrays: dict[str, np.ndarray], prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    return ((name.removeprefix(prefix), x) for name, x in arrays.items() if name.startswith(prefix))


if __name__ == "__main__":
    sys.exit(main())
