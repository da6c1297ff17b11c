"""What decoding and building processes import, since each of them does so before its first clip."""

import pathlib
import pickle
import subprocess
import sys
from typing import Any

import pytest

from dualdub_jax.config import AugmentationConfig, Config
from dualdub_jax.data_pipeline.augmentation import Augment
from dualdub_jax.data_pipeline.builders.folder import Folder
from dualdub_jax.data_pipeline.example import MakeExample
from dualdub_jax.data_pipeline.replacement import ReplaceBad
from dualdub_jax.text.tokenizer import make_tokenizer

# Of a second or more together; reverberation, tokenizer files and optimizers use them.
_HEAVY = ("scipy.signal", "scipy.stats", "tokenizers", "optax")


def _decoding() -> Any:
    config = Config()
    make = MakeExample("films", config, make_tokenizer(config.model))
    return ReplaceBad("films", [], Augment(make, AugmentationConfig(), "films", None))


@pytest.mark.parametrize("make", [_decoding, lambda: Folder(pathlib.Path("films"))])
def test_a_process_that_receives_its_work_has_no_heavy_package(make: Any) -> None:
    code = (
        "import pickle, sys\n"
        "pickle.load(sys.stdin.buffer)\n"
        f"print([name for name in {_HEAVY} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(make()), capture_output=True, check=True
    )
    assert done.stdout.decode().split() == ["[]"]
