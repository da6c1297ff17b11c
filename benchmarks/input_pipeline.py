"""Throughput of the input pipeline, by part and beside a torch DataLoader; how long train steps wait for it.

    python benchmarks/input_pipeline.py                       # renders 64 clips of Puppet Stage first
    python benchmarks/input_pipeline.py --data-dir data       # on a dataset that exists
    python benchmarks/input_pipeline.py --only torch          # the comparison alone
    python benchmarks/input_pipeline.py --only sidecars       # features and tokens, computed or read

"torch" gives a torch DataLoader the same clips as files, and batches of one size: torch in processes, ours in
threads (the default of training) and in as many processes. Each clip is decoded (frames and both stems),
resampled and cut to the window; PyAV, soundfile and soxr decode and resample for all.

    threads, processes     ours
    torch_plain            torch's loader with the usual lines of PyAV, torch, soundfile and soxr
    torch_same_function    torch's loader with our function for a clip, which compares the loaders alone

Of each: clips a second, CPU time of all its processes a clip, their peak memory (shared pages once, more
than before), and the time to the first batch, which includes the start of processes; rates do not.
"cpu_ms_function" is the CPU time of the function for a clip without a loader, in as many processes,
"share_function" its share of the loader's, and "most_ratio" that of a loader which costs nothing beside it.
`ratio_…` are ours over torch's, above 1 = ours better; those of CPU time hardly depend on other load.
Without torch and psutil the comparison is left out.

"parts" are measured in CPU milliseconds per clip, which are robust to other load. The whole pipeline runs as
in training: threads decode, and tokens are computed on the fly ("fresh", the first epoch), cached ("cached")
or read from sidecars ("prepared"). `ratio_…_to_step` are its clips a second over those that a train step of
the puppet model consumes, each alone on all cores. For the waits, the step is simulated by matrix products on
all cores.

"sidecars" is for a model that reads features: a frozen CLIP ViT-B/32 of random weights at 25/3 Hz and the
tokens of both stems, of 12 rendered clips. "raw" computes both in every batch, "prepared" reads them. The
last line is JSON.
"""

# Decoding processes import this file: what else it needs is imported in the functions.
import argparse
import contextlib
import json
import subprocess
import sys
import tempfile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-dir", help="folder of built datasets (default: render a few clips)")
    parser.add_argument("--source", default="puppet_stage/soundtrack")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--num-batches", type=int, default=32, help="per measurement of the whole pipeline")
    parser.add_argument("--step-ms", type=float, default=400.0, help="duration of the simulated train step")
    parser.add_argument("--num-workers", type=int, default=2, help="of both loaders in the comparison")
    parser.add_argument("--only", choices=("torch", "parts", "sidecars", "step"), help="default: all")
    args = parser.parse_args()
    figures = measure(args)
    for name, value in figures.items():
        print(f"{name:44s} {value:10.2f}")
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


def measure(args: argparse.Namespace) -> dict[str, float]:
    """All figures by name."""
    if args.only == "step":
        from input_parts import clips_per_s_of_step

        return {"clips_per_s_step": clips_per_s_of_step()}
    figures: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        data_dir = args.data_dir
        if data_dir is None and args.only != "sidecars":
            data_dir = _render(stack, 64)
        if args.only in (None, "torch"):  # first, so that torch's processes are forked from a small one
            from input_loaders import as_rows, compare_with_torch

            figures |= (compared := compare_with_torch(data_dir, args))
            if compared:
                print("the rows of docs/data.md:", *as_rows(compared), sep="\n")
        if args.only in (None, "parts"):
            figures |= _in_another_process("step")
            from input_parts import measure_parts

            figures |= measure_parts(data_dir, args)
            for kind in ("cached", "prepared"):
                ratio = figures[f"clips_per_s_{kind}_tokens"] / figures["clips_per_s_step"]
                figures[f"ratio_{kind}_to_step"] = ratio
        if args.only in (None, "sidecars"):
            from input_parts import compare_with_sidecars

            figures |= compare_with_sidecars(_render(stack, 12))
    return figures


def _in_another_process(part: str) -> dict[str, float]:
    """The train step keeps freed memory, which must be set before JAX starts."""
    command = [sys.executable, __file__, "--only", part]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _render(stack: contextlib.ExitStack, num_clips: int) -> str:
    """A folder with a dataset, as long as the stack is open."""
    from dualdub_jax.data_pipeline.build import build

    print(f"rendering {num_clips} clips of Puppet Stage (tone voices, which require no package)", flush=True)
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    sizes = {"train": num_clips, "validation": 0, "test_seen": 0, "test_unseen": 0}
    build("puppet_stage/soundtrack", folder, num_processes=1, voice_bank="tone", num_clips=sizes)
    return folder


if __name__ == "__main__":
    main()
