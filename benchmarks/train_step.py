"""Compares a full train step with the same model in PyTorch, and with the peak rate of matrix products.

    pip install -e '.[bench]'
    python benchmarks/train_step.py                                     # both sizes, all cores
    python benchmarks/train_step.py --sizes puppet --threads 1 --repeats 5
    python benchmarks/train_step.py --sizes puppet --without-films      # as in the curriculum's first stage

The step consists of forward, backward, clipping, AdamW and the moving average, in float32, on one random
batch in which every clip has all conditions and both tracks. Sizes: `puppet` is configs/puppet.py; `50m` is a
smaller variant of configs/small.py, with a batch of 2 clips so that it finishes in minutes; `tiny` is for
tests.

Ours and the PyTorch implementation (`torch_twin.py`) run in separate processes, alternately, pinned to the
same `--threads` cores. Ours keeps freed memory, as `dualdub train` does
(`dualdub_jax/training/kept_pages.py`); the twin runs with PyTorch's defaults (`twin`), and with freed memory
kept as well (`twin_kept`). All start from the same parameters. The twin's loss and every gradient of its
first step must equal ours; otherwise the benchmark ends with exit status 1.

The peak is the best rate of a 2048 x 2048 float32 matrix product of either library, measured between the
steps. Model FLOPs are computed by formula (`dualdub_jax/models/analytic_flops.py`). CPU seconds are those of
all threads and are robust to other load. Memory is the peak resident set during training, after compilation.
Set XLA_FLAGS to compare compiler flags. The table has medians over repeats; the last line is JSON. For a
breakdown of the CPU time see `step_profile.py`.
"""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from dualdub_jax.checkpoints.tree_paths import path_name
from dualdub_jax.config import Config, LossConfig, StageConfig, load_config
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.models.analytic_flops import model_flops
from dualdub_jax.models.batch import example_batch
from dualdub_jax.training.kept_pages import keep_pages
from dualdub_jax.types import Batch

_ROOT = pathlib.Path(__file__).parent.parent
_CUT = (
    "model.width=512",
    "model.num_layers=5",
    "model.num_heads=8",
    "model.num_kv_heads=4",
    "model.mlp_width=1408",
    'model.compute_dtype="float32"',
    'model.remat_policy="none"',
    "model.aligner.num_heads=8",
)
# The twin has neither script aligner nor acoustic condition, and weights all codebooks equally.
_AS_THE_TWIN = ("model.aligner.use_script=false", "model.num_acoustics_bins=0", "loss.codebook_decay=1.0")
# Size -> config, overrides, clips a step.
SIZES: dict[str, tuple[str, tuple[str, ...], int]] = {
    "tiny": ("configs/puppet.py:tiny", _AS_THE_TWIN, 2),
    "puppet": ("configs/puppet.py", _AS_THE_TWIN, 16),
    "50m": ("configs/small.py", _CUT, 2),
}
_MATMUL_SIZE = 2048
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 2e-3  # relative; for a gradient, relative to its norm


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--sizes", default="puppet,50m", help="comma-separated model sizes")
    parser.add_argument("--batch-size", type=int, help="clips a step (default: by size)")
    parser.add_argument("--threads", type=int, default=cores, help="number of cores to pin each process to")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="per repeat")
    parser.add_argument("--without-films", action="store_true", help="use a batch without films")
    parser.add_argument("--worker", choices=tuple(WORKERS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = set(args.sizes.split(",")) - set(SIZES)
    if unknown or not 1 <= args.threads <= cores:
        parser.error(f"--sizes: choose from {', '.join(SIZES)}; --threads: 1 to {cores}, the available cores")
    if args.worker:
        serve(WORKERS[args.worker], args)
        return
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        parser.error("PyTorch is not installed; pip install -e '.[bench]'")
    print(f"PyTorch {version}, {args.threads} threads, {args.repeats} repeats of {args.steps} steps\n")
    figures: dict[str, Any] = {"threads": args.threads, "repeats": args.repeats}
    for size in args.sizes.split(","):
        figures |= {f"{name}_{size}": value for name, value in compare(size, args).items()}
    print(json.dumps(figures))


def compare(size: str, args: argparse.Namespace) -> dict[str, float]:
    """Runs ours and the twins on one size, prints its table, and returns its figures."""
    batch_size = args.batch_size or SIZES[size][2]
    with tempfile.TemporaryDirectory() as folder:
        # Ours first: it writes the initial parameters and the expected loss and gradients of the twin.
        workers = {name: Contestant(name, size, batch_size, folder, args) for name in WORKERS}
        turns: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
        for repeat in range(args.repeats):
            for name in list(workers)[:: 1 if repeat % 2 == 0 else -1]:
                turns[name].append(workers[name].ask("turn"))
        memory = {name: worker.ask("memory")["bytes"] for name, worker in workers.items()}
        for worker in workers.values():
            worker.close()
    every_turn = [turn for of_one in turns.values() for turn in of_one]
    peak, cpu_peak = (max(turn[name] for turn in every_turn) for name in ("flops_per_s", "flops_per_cpu_s"))
    flops = model_flops(config_of(size, args.without_films), batch_size)
    ready = workers["twin"].ready
    print(
        f"{size}: {ready['parameters'] / 1e6:.1f}M parameters, {batch_size} clips and "
        f"{flops / 1e9:.0f} GFLOP a step; matrix products reach {peak / 1e9:.0f} GFLOP/s"
    )
    print(
        f"equal: the loss to {ready['loss_error']:.1e}, gradients to {ready['gradient_error']:.1e} "
        f"(worst: {ready['worst_gradient']})"
    )
    print(
        f"{'':<9} {'s a step':>9} {'least':>7} {'most':>7} {'CPU s':>7} {'clips/s':>8} {'of the peak':>12} "
        f"{'(by CPU s)':>11} {'peak GB':>8}"
    )
    figures = {"matmul_gflops_per_s": peak / 1e9, "matmul_gflops_per_cpu_s": cpu_peak / 1e9}
    for name, of_one in turns.items():
        times = [turn["seconds"] for turn in of_one]
        step_s, cpu_s = statistics.median(times), statistics.median(turn["cpu_seconds"] for turn in of_one)
        rate, share, cpu_share = batch_size / step_s, flops / step_s / peak, flops / cpu_s / cpu_peak
        gigabytes = memory[name] / 1e9
        print(
            f"{name:<9} {step_s:9.3f} {min(times):7.3f} {max(times):7.3f} {cpu_s:7.3f} {rate:8.2f} "
            f"{share:12.1%} {cpu_share:11.1%} {gigabytes:8.2f}"
        )
        figures |= {f"step_s_{name}": step_s, f"cpu_s_{name}": cpu_s, f"clips_per_s_{name}": rate}
        figures |= {f"share_of_peak_{name}": share, f"share_of_cpu_peak_{name}": cpu_share}
        figures |= {f"peak_gb_{name}": gigabytes}
    for twin in ("twin", "twin_kept"):
        ratios = {
            f"ratio_{name}_{twin}": figures[f"{key}_{twin}"] / figures[f"{key}_ours"]
            for name, key in (("step_time", "step_s"), ("cpu_time", "cpu_s"), ("peak_memory", "peak_gb"))
        }
        figures |= ratios
        print(
            f"ours is {ratios[f'ratio_cpu_time_{twin}']:.2f} times as fast as {twin} by CPU seconds, "
            f"{ratios[f'ratio_step_time_{twin}']:.2f} times by the clock"
        )
    print(flush=True)
    return {name: round(value, 4) for name, value in figures.items()}


class Contestant:
    """A worker process and its first answer; `ask` sends a command and waits for the answer."""

    def __init__(self, name: str, size: str, batch_size: int, folder: str, args: argparse.Namespace):
        command = [sys.executable, __file__, "--worker", name, "--folder", folder, "--sizes", size]
        command += ["--batch-size", str(batch_size), "--threads", str(args.threads)]
        command += ["--steps", str(args.steps), *["--without-films"][: args.without_films]]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]),
            "OMP_NUM_THREADS": str(args.threads),
            "JAX_PLATFORMS": "cpu",
        }
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.ready = self._answer()

    def ask(self, command: str) -> dict[str, Any]:
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            # The worker has printed its error to stderr.
            sys.exit(self._process.wait() or 1)
        return json.loads(line)


# ------------------------------------------------------------------------------------------ worker processes
@dataclasses.dataclass
class Work:
    """The work of a worker process.

    Attributes:
        ready: its first answer.
        step: runs one train step and waits for it.
        matmul: computes one product of square float32 matrices and waits for it.
    """

    ready: dict[str, Any]
    step: Callable[[], Any]
    matmul: Callable[[], Any]


def serve(make: Callable[[argparse.Namespace], Work], args: argparse.Namespace) -> None:
    """Serves commands; pins the process to its cores before a library counts them."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    if args.worker != "twin":
        keep_pages()
    work = make(args)
    work.matmul()
    work.step()
    forget_peak_memory()
    print(json.dumps(work.ready), flush=True)
    for command in map(str.strip, sys.stdin):
        if command == "memory":
            answer = {"bytes": peak_memory()}
        else:
            seconds, cpu_seconds = clock(work.step, args.steps)
            # The best of several: other load only slows it down.
            products = [clock(work.matmul, 1) for _ in range(4)]
            answer = {"seconds": seconds, "cpu_seconds": cpu_seconds}
            answer |= {"flops_per_s": 2 * _MATMUL_SIZE**3 / min(wall for wall, _ in products)}
            answer |= {"flops_per_cpu_s": 2 * _MATMUL_SIZE**3 / min(cpu for _, cpu in products)}
        print(json.dumps(answer), flush=True)


def clock(function: Callable[[], Any], times: int) -> tuple[float, float]:
    """Wall-clock seconds and CPU seconds of all threads per call."""
    started, cpu_started = time.perf_counter(), time.process_time()
    for _ in range(times):
        function()
    return (time.perf_counter() - started) / times, (time.process_time() - cpu_started) / times


def forget_peak_memory() -> None:
    """Resets the peak resident set, which excludes compilation from the measurement. Linux only."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Peak resident set in bytes since `forget_peak_memory`. Linux only."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def config_of(size: str, without_films: bool = False) -> Config:
    """The config of a size; without films, with an empty video encoder, for counting FLOPs."""
    path, overrides, _ = SIZES[size]
    # No dropout: the twin's gradients are compared with ours.
    rates = [field.name for field in dataclasses.fields(LossConfig) if field.name.endswith("_dropout_rate")]
    config = load_config(str(_ROOT / path), [*overrides, *(f"loss.{rate}=0.0" for rate in rates)])
    if not without_films:
        return config
    nothing = dataclasses.replace(config.model.video, patch_width=0, merge_widths=(), num_layers=0)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, video=nothing))


def our_work(args: argparse.Namespace) -> Work:
    """Our worker: writes `start.npz` (parameters, batch) and `first_step.npz` (loss, gradients)."""
    stage = stage_of(config_of(args.sizes), args)
    step, state, batch = compiled_step(args.sizes, args.batch_size, args.without_films)
    params, key = jax.tree.map(np.array, state.params), jax.random.key(1)
    state, metrics = step(state, batch, key)
    # Adam's first moment is the scaled, clipped gradient, so no second program is compiled for the
    # comparison.
    norm = float(metrics["gradient_norm"])
    scale = (1.0 - stage.optimizer.b1) * min(1.0, stage.optimizer.clip_norm / norm)
    moments = optax.tree.get(state.opt_state, "mu")
    present = {name: value for name, value in vars(batch).items() if value is not None}
    np.savez(args.folder / "start.npz", **flat(params, "params/"), **flat(present, "batch/"))
    gradients = {name: moment / scale for name, moment in flat(moments, "").items()}
    np.savez(args.folder / "first_step.npz", loss=metrics["loss"], **gradients)
    matrix = jnp.ones((_MATMUL_SIZE, _MATMUL_SIZE))
    product = jax.jit(jnp.matmul)

    def train() -> None:
        nonlocal state
        state, metrics = step(state, batch, key)
        jax.block_until_ready((state, metrics))

    return Work({}, train, lambda: product(matrix, matrix).block_until_ready())


def compiled_step(size: str, batch_size: int, without_films: bool) -> tuple[jax.stages.Compiled, Any, Batch]:
    """The train step `f(state, batch, key)`, which donates the state; an initial state; and a batch."""
    config = config_of(size)
    phase = stage_phase(config, config.stages[-1], make_batches=None)
    shapes = jax.eval_shape(lambda rng: nn.unbox(phase.init(rng, None)), jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map_with_path(
        lambda path, x: random_parameter(path_name(path), x.shape, rng), shapes.params
    )
    batch = jax.device_put(random_batch(config, batch_size, without_films, rng))
    state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    state = state.replace(params=jax.device_put(params), ema_params=jax.device_put(params))
    step = jax.jit(phase.step, donate_argnames="state").lower(state, batch, jax.random.key(1)).compile()
    return step, state, batch


def twin_work(args: argparse.Namespace) -> Work:
    """The twin's worker: starts from our parameters and checks its first loss and gradients against ours."""
    import torch
    import torch_twin

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    start = dict(np.load(args.folder / "start.npz"))
    expected = dict(np.load(args.folder / "first_step.npz"))
    config = config_of(args.sizes)
    stage = stage_of(config, args)
    train = torch_twin.TrainStep(config, stage.optimizer, stage.num_steps)
    train.load({name.removeprefix("params/"): x for name, x in start.items() if name.startswith("params/")})
    batch = torch_twin.as_tensors(
        {name.removeprefix("batch/"): x for name, x in start.items() if name.startswith("batch/")}
    )
    loss = float(train.gradients(batch))
    loss_error = abs(loss / float(expected.pop("loss")) - 1.0)
    gradients = train.named_gradients()
    whole = np.sqrt(sum(float(np.square(x).sum()) for x in expected.values()))
    errors = {}
    for name, gradient in torch_twin.state_dict_of(expected).items():
        # Relative to the global norm if the parameter's own gradient is negligible (an unused null vector).
        size = max(float(gradient.norm()), 1e-5 * whole)
        errors[name] = float((gradients[name] - gradient).norm()) / size
    worst = max(errors, key=errors.get)
    if not (loss_error < LOSS_TOLERANCE and errors[worst] < GRADIENT_TOLERANCE):
        sys.exit(f"the twin differs: loss by {loss_error:.1e}, gradient of {worst} by {errors[worst]:.1e}")
    matrix = torch.ones(_MATMUL_SIZE, _MATMUL_SIZE)
    ready = {
        "parameters": sum(x.size for name, x in start.items() if name.startswith("params/")),
        "loss_error": loss_error,
        "gradient_error": errors[worst],
        "worst_gradient": worst,
    }
    return Work(ready, lambda: train(batch), lambda: matrix @ matrix)


WORKERS = {"ours": our_work, "twin": twin_work, "twin_kept": twin_work}


def stage_of(config: Config, args: argparse.Namespace) -> StageConfig:
    """The config's last stage with the requested batch size."""
    return dataclasses.replace(config.stages[-1], batch_size=args.batch_size)


def random_parameter(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A random parameter at the scale of an initialised one; no zeros, so that gates and biases matter."""
    if name.endswith("scale"):
        return np.ones(shape, np.float32)
    scale = shape[-2] ** -0.5 if name.split("/")[-1] in ("kernel", "out") else 0.1
    return scale * rng.standard_normal(shape, np.float32)


def random_batch(config: Config, batch_size: int, without_films: bool, rng: np.random.Generator) -> Batch:
    """Full-length clips with all conditions and tracks, or with all but films."""
    shapes = example_batch(config, batch_size)
    codes = {
        name: rng.integers(0, codec.codebook_size, getattr(shapes, name).shape, np.int32)
        for name, codec in (
            ("speech_tokens", config.streams["speech"].codec),
            ("background_tokens", config.streams["background"].codec),
        )
    }
    return shapes.replace(
        video=rng.integers(0, 256, shapes.video.shape, np.uint8),
        script_tokens=rng.integers(0, config.model.script_vocab_size, shapes.script_tokens.shape, np.int32),
        voice=0.1 * rng.standard_normal(shapes.voice.shape, np.float32),
        has_video=np.full(batch_size, not without_films),
        **codes,
    )


def flat(tree: Any, prefix: str) -> dict[str, np.ndarray]:
    """Flattens a nested dictionary to "prefix/path" -> array."""
    leaves = {}
    for name, value in tree.items():
        leaves |= (
            flat(value, f"{prefix}{name}/") if isinstance(value, dict) else {prefix + name: np.asarray(value)}
        )
    return leaves


if __name__ == "__main__":
    main()
