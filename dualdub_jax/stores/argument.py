"""Types of command-line arguments that are paths."""

import argparse
import pathlib

from dualdub_jax.errors import UserError
from dualdub_jax.stores.path import StorePath, as_local_path, as_path


def stored(text: str) -> StorePath:
    """A path on a local disk or an object store; argparse reports another with the name of the option."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got an empty one")
    try:
        return as_path(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def local(text: str) -> pathlib.Path:
    """A path on a local disk; argparse reports another with the name of the option."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got an empty one")
    try:
        return as_local_path(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
