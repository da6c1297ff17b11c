"""Each port of a public model against its PyTorch original: same CPU, weights and input, one run.

    pip install 'dualdub-jax[convert]'    # without a GPU, install torch's CPU build first
    python benchmarks/ports.py
    python benchmarks/ports.py --tasks clip,wavtokenizer_encode --repeats 5

Models have their published sizes and random weights. The original is saved and converted first; then each
side reads its files and computes in a process of its own, one after the other. The first call compiles and is
not timed, and the fastest of the others counts. CPU seconds are those of all threads. GB is the process's
peak of resident memory, and `without libraries` the same less what it had after its imports. The last line is
JSON: `ratio_…` is the original's over ours, above 1 = ours is better.
"""

import argparse
import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

AUDIO_S, IMAGES = 10, 32
RATES_HZ = {"wavtokenizer": 24_000, "dac": 44_100, "mimi": 24_000, "oobleck": 44_100}
# DAC and Oobleck at 44.1 kHz take more time and memory per second.
SECONDS = {"wavtokenizer": AUDIO_S, "mimi": AUDIO_S, "dac": 3, "oobleck": 3}
TASKS = (
    *("clip", "siglip"),
    *(f"{kind}_{side}" for kind in RATES_HZ for side in ("encode", "decode")),
)
_CLASSES = {
    "clip": ("transformers", "CLIPVisionModelWithProjection"),
    "siglip": ("transformers", "SiglipVisionModel"),
    "wavtokenizer": ("transformers", "WavTokenizerModel"),
    "dac": ("transformers", "DacModel"),
    "mimi": ("transformers", "MimiModel"),
    "oobleck": ("diffusers", "AutoencoderOobleck"),
}
_MEASURED = ("cpu_s", "wall_s", "gb", "gb_without_libraries")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS), help=f"of {', '.join(TASKS)}")
    parser.add_argument("--repeats", type=int, default=3, help="timed calls of each")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="of PyTorch (XLA takes all cores)"
    )
    parser.add_argument("--side", choices=("make", "convert", "torch", "jax"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = args.tasks.split(",")
    if unknown := set(names) - set(TASKS):
        print(f"--tasks: {', '.join(sorted(unknown))}: expected {', '.join(TASKS)}", file=sys.stderr)
        return 2
    if args.side:
        measure(args, names[0])
        return 0
    print(f"{_processor()}, {os.cpu_count()} cores, {args.threads} threads of PyTorch, float32")
    heads = [x for head in ("CPU s", "wall s", "GB", "less lib") for x in (head, "torch")]
    print(f"{'':20s}" + "".join(f"{head:>9s}" for head in (*heads, "ratio")) + "  difference", flush=True)
    figures = {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            for side in ("make", "convert"):
                _run(side, name, args, folder)
            theirs, ours = (json.loads(_run(side, name, args, folder)) for side in ("torch", "jax"))
            outputs = [np.load(pathlib.Path(folder) / f"{side}.npy") for side in ("torch", "jax")]
        ratio = theirs["cpu_s"] / ours["cpu_s"]
        print(
            f"{name:20s}"
            + "".join(f"{side[key]:9.2f}" for key in _MEASURED for side in (ours, theirs))
            + f"{ratio:9.2f}  {difference(*outputs)}",
            flush=True,
        )
        figures |= {f"{name}_{key}": round(value, 4) for key, value in ours.items()}
        figures |= {f"{name}_torch_{key}": round(value, 4) for key, value in theirs.items()}
        for key in ours:
            figures[f"ratio_{name}_{key}"] = round(theirs[key] / ours[key], 3)
        if "_" in name:
            seconds = SECONDS[name.partition("_")[0]]
            figures[f"{name}_x_realtime"] = round(seconds / ours["wall_s"], 3)
    print(json.dumps(figures | {"cores": os.cpu_count(), "torch_threads": args.threads}))
    return 0


def as_rows(report: dict[str, float]) -> list[str]:
    """The JSON line as rows of the table in docs/performance.md."""
    rows = []
    for name in TASKS:
        pairs = [(report[f"{name}_{key}"], report[f"{name}_torch_{key}"]) for key in _MEASURED]
        cpu, _, peak, alone = (f"{ours:.2f} / {theirs:.2f}" for ours, theirs in pairs)
        paces = "-"
        if "_" in name:
            seconds = SECONDS[name.partition("_")[0]]
            paces = f"{seconds * report['cores'] / report[f'{name}_cpu_s']:.1f}"
        ratio = report[f"ratio_{name}_cpu_s"]
        rows.append(f"| {name.replace('_', ' ')} | {cpu} | {ratio:.1f} | {paces} | {peak} | {alone} |")
    return rows


def _processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "CPU")


def _run(side: str, name: str, args: argparse.Namespace, folder: str) -> str:
    """One side in a process of its own; returns the last line that it prints."""
    command = [sys.executable, __file__, "--side", side, "--tasks", name, "--folder", folder]
    command += ["--repeats", str(args.repeats), "--threads", str(args.threads)]
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **quiet}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{name} ({side}):\n{result.stderr}")
    return (result.stdout.splitlines() or [""])[-1]


def measure(args: argparse.Namespace, name: str) -> None:
    """Does one side of a task; prints the figures of "torch" and "jax", and writes what they computed."""
    kind, _, side = name.partition("_")
    if args.side == "make":
        return make_original(kind, args.folder)
    if args.side == "convert":
        from dualdub_jax.convert.public_weights import convert_public_weights

        convert_public_weights(args.folder / "public", args.folder / "ours")
        return None
    if args.side == "torch":
        importlib.import_module("torch")
        importlib.import_module("diffusers" if kind == "oobleck" else "transformers")
        model_class(kind)  # transformers and diffusers import a model's module when it is named
        libraries_gb = _status_gb("VmRSS")
        call = torch_call(kind, side, args.folder, args.threads)
    else:
        for module in ("jax", "dualdub_jax.tools.named_codec", "dualdub_jax.encoders.base"):
            importlib.import_module(module)
        libraries_gb = _status_gb("VmRSS")
        call = jax_call(kind, side, args.folder)
    output, walls, cpus = call(), [], []
    for _ in range(args.repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        output = call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    np.save(args.folder / f"{args.side}.npy", output)
    peak_gb = _status_gb("VmHWM")
    figures = (min(cpus), min(walls), peak_gb, peak_gb - libraries_gb)
    print(json.dumps(dict(zip(_MEASURED, figures, strict=True))))
    return None


def _status_gb(key: str) -> float:
    """A size of this process in /proc/self/status."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 1e6


def sound(kind: str) -> np.ndarray:
    """float32[1, S]: chirps in noise."""
    num_samples = SECONDS[kind] * RATES_HZ[kind]
    t = np.arange(num_samples) / RATES_HZ[kind]
    noise = np.random.default_rng(0).normal(size=num_samples)
    return (0.3 * np.sin(2 * np.pi * 200 * t * (1 + t % 1)) + 0.05 * noise).astype(np.float32)[None]


def images(size: int) -> np.ndarray:
    """uint8[n, size, size, 3]."""
    return np.random.default_rng(0).integers(0, 256, (IMAGES, size, size, 3)).astype(np.uint8)


def tokens(num_frames: int, num_codebooks: int, codebook_size: int) -> np.ndarray:
    """int[1, T, Q]."""
    return np.random.default_rng(0).integers(0, codebook_size, (1, num_frames, num_codebooks))


def model_class(kind: str) -> Any:
    """The original's class."""
    module, name = _CLASSES[kind]
    return getattr(importlib.import_module(module), name)


def make_original(kind: str, folder: pathlib.Path) -> None:
    """Saves the original with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = {
        "clip": transformers.CLIPVisionConfig,
        "siglip": transformers.SiglipVisionConfig,
        "wavtokenizer": transformers.WavTokenizerConfig,
        "dac": lambda: transformers.DacConfig(sampling_rate=RATES_HZ["dac"]),
        "mimi": transformers.MimiConfig,
    }
    model = model_class(kind)(*([config[kind]()] if kind in config else []))
    if kind in ("wavtokenizer", "mimi"):  # codebooks are zeros at first
        for module in model.modules():
            for name in ("embed", "embed_sum"):
                if isinstance(buffer := getattr(module, "_buffers", {}).get(name), torch.Tensor):
                    buffer.copy_(torch.randn_like(buffer))
    model.save_pretrained(folder / "public")


def torch_call(kind: str, side: str, folder: pathlib.Path, num_threads: int) -> Callable[[], np.ndarray]:
    """Reads the original, and binds the task."""
    import torch

    torch.set_num_threads(num_threads)
    model = model_class(kind).from_pretrained(folder / "public").eval()
    if kind in ("clip", "siglip"):
        size = model.config.image_size
        mean = np.array([0.48145466, 0.4578275, 0.40821073] if kind == "clip" else [0.5] * 3, np.float32)
        std = np.array([0.26862954, 0.26130258, 0.27577711] if kind == "clip" else [0.5] * 3, np.float32)
        batch = images(size)

        def run() -> torch.Tensor:
            pixels = torch.from_numpy((batch / np.float32(255) - mean) / std).permute(0, 3, 1, 2)
            out = model(pixels)
            return out.image_embeds if kind == "clip" else out.pooler_output

    elif kind == "oobleck":
        stereo = torch.from_numpy(sound(kind)).repeat(1, 2, 1)[..., : sound(kind).shape[1] // 2048 * 2048]
        latents = torch.from_numpy(_latents())
        run = (
            (lambda: model.encode(stereo).latent_dist.mean.transpose(1, 2))
            if side == "encode"
            else (lambda: model.decode(latents.transpose(1, 2)).sample.transpose(1, 2))
        )
    elif side == "encode":
        waveform = torch.from_numpy(sound(kind))[:, None]
        run = lambda: model.encode(waveform).audio_codes.transpose(1, 2)  # noqa: E731
    else:
        codes = torch.from_numpy(tokens(*_token_shape(kind))).transpose(1, 2)
        run = {
            "dac": lambda: model.decode(audio_codes=codes).audio_values,
            "mimi": lambda: model.decode(codes).audio_values[:, 0],
            "wavtokenizer": lambda: model.decode(codes).audio_values[:, 0],
        }[kind]

    def call() -> np.ndarray:
        with torch.inference_mode():
            return run().numpy()

    return call


def _latents() -> np.ndarray:
    num_latents = SECONDS["oobleck"] * RATES_HZ["oobleck"] // 2048
    return np.random.default_rng(0).normal(size=(1, num_latents, 64)).astype(np.float32)


def _token_shape(kind: str) -> tuple[int, int, int]:
    shapes = {"wavtokenizer": (600, 1, 4096), "dac": (512, 9, 1024), "mimi": (1920, 32, 2048)}
    hop, num_codebooks, size = shapes[kind]
    return SECONDS[kind] * RATES_HZ[kind] // hop, num_codebooks, size


def jax_call(kind: str, side: str, folder: pathlib.Path) -> Callable[[], np.ndarray]:
    """Reads the converted folder, and binds the task."""
    if kind in ("clip", "siglip"):
        from dualdub_jax.encoders.base import FEATURE_EXTRACTORS

        extractor = FEATURE_EXTRACTORS.make(f"{kind}(path={str(folder / 'ours')!r})")
        batch = images(extractor.frame_spec.frame_size)
        return lambda: extractor.extract(batch)
    if kind == "oobleck":
        return _oobleck_call(side, folder)
    from dualdub_jax.tools.named_codec import load_codec

    codec = load_codec(str(folder / "ours")).codec
    if side == "encode":
        waveform = sound(kind)
        return lambda: np.asarray(codec.encode(waveform))
    codes = tokens(*_token_shape(kind)).astype(np.int32)
    return lambda: np.asarray(codec.decode(codes))


def _oobleck_call(side: str, folder: pathlib.Path) -> Callable[[], np.ndarray]:
    import jax

    from dualdub_jax.checkpoints.converted import read_converted
    from dualdub_jax.decoders.oobleck.autoencoder import OobleckConfig, OobleckDecoder, OobleckEncoder

    sizes, params = read_converted(folder / "ours", "oobleck")
    config = OobleckConfig(**{key: tuple(x) if isinstance(x, list) else x for key, x in sizes.items()})
    if side == "decode":
        decode = jax.jit(OobleckDecoder(config).apply)
        return lambda: np.asarray(decode({"params": params["decoder"]}, _latents()))
    waveform = np.repeat(sound("oobleck")[..., None], 2, axis=2)
    waveform = waveform[:, : waveform.shape[1] // 2048 * 2048]
    encode = jax.jit(OobleckEncoder(config).apply)
    return lambda: np.asarray(encode({"params": params["encoder"]}, waveform)[0])


def difference(theirs: np.ndarray, ours: np.ndarray) -> str:
    """How both outputs differ: codes that agree, or the largest difference over the largest value."""
    ours = ours[:, : theirs.shape[1]]
    if np.issubdtype(theirs.dtype, np.integer):
        return f"{np.mean(theirs == ours):.2%} of codes equal"
    return f"{np.abs(theirs - ours).max() / np.abs(theirs).max():.1e}"


if __name__ == "__main__":
    sys.exit(main())
