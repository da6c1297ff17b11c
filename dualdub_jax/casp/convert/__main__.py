"""Converts the authors' CASP checkpoint, or public BEATs weights, to the folder format of this project.

    python -m dualdub_jax.casp.convert --checkpoint CASP.ckpt --out weights/casp
    python -m dualdub_jax.casp.convert --beats BEATs_iter3_plus_AS2M.pt --out weights/beats

The first is for `dualdub evaluate --casp-weights DIR`; the second initialises training with configs/casp.py.
PyTorch files are read without torch, and code in them never runs.
"""

import argparse
import hashlib
import pathlib
import sys
from collections.abc import Sequence

from dualdub_jax.casp import bundle
from dualdub_jax.casp.convert.beats_from_torch import beats_config, take_beats
from dualdub_jax.casp.convert.casp_from_torch import casp_from_torch
from dualdub_jax.checkpoints.tree_paths import check_shapes
from dualdub_jax.convert.names import StateDict
from dualdub_jax.convert.torch_file import read_tensors
from dualdub_jax.errors import UserError
from dualdub_jax.stores.argument import local, stored


def convert_casp(checkpoint: pathlib.Path, out: pathlib.Path) -> None:
    """Converts the authors' Lightning checkpoint, or a safetensors copy of its state dict.

    Args:
        checkpoint: the file.
        out: folder to write.

    Raises:
        UserError: the file cannot be read, or its names or shapes are not those of CASP.
    """
    tensors, _ = read_tensors(checkpoint)
    config, params = casp_from_torch(tensors, str(checkpoint))
    _save(checkpoint, out, config, params)


def convert_beats(checkpoint: pathlib.Path, out: pathlib.Path) -> None:
    """Converts public BEATs weights (not a fine-tuned classifier), or a safetensors copy.

    Args:
        checkpoint: the file.
        out: folder to write.

    Raises:
        UserError: the file cannot be read, or its names or shapes are not those of BEATs.
    """
    tensors, settings = read_tensors(checkpoint)
    config = beats_config(tensors, settings=settings)
    state = StateDict(tensors, str(checkpoint))
    params = take_beats(state, config)
    state.finish()
    _save(checkpoint, out, config, params)


def _save(checkpoint, out, config, params) -> None:
    check_shapes(bundle.abstract_params(config), params, str(checkpoint))
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    bundle.save(out, config, params, {"converted_from": checkpoint.name, "sha256": digest})


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the converter; returns the exit status: 0, or 2 for unusable input (one line on stderr)."""
    parser = argparse.ArgumentParser(
        prog="python -m dualdub_jax.casp.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", type=local, metavar="FILE", help="the authors' CASP checkpoint")
    source.add_argument("--beats", type=local, metavar="FILE", help="public BEATs weights (a single encoder)")
    parser.add_argument("--out", type=stored, required=True, metavar="DIR", help="folder to write")
    args = parser.parse_args(argv)
    try:
        if args.checkpoint is not None:
            convert_casp(args.checkpoint, args.out)
        else:
            convert_beats(args.beats, args.out)
    except UserError as error:
        print(f"dualdub: {error}", file=sys.stderr)
        return 2
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
