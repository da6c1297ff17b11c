"""A folder of `--weights` with tiny models of random weights."""

import json
import pathlib

import numpy as np
import safetensors.numpy

from dualdub_jax.convert.public_weights import convert_public_weights
from tests.convert.ports import weights
from tests.golden.make_metrics_golden import WAVLM

_MODELS = {
    "cnn14": ("cnn14_16000", {}),
    "vggish": ("vggish", {}),
    "utmos": ("utmos", {"num_attention_heads": 3}),
    "wavlm_sv": ("wavlm_sv", WAVLM),
}


def make_weights(folder: pathlib.Path) -> pathlib.Path:
    """Converts the golden models into a new folder, as a user does."""
    for kind, (golden, settings) in _MODELS.items():
        source = folder / "sources" / kind
        source.mkdir(parents=True)
        (source / "config.json").write_text(json.dumps(settings))
        state = {name: np.ascontiguousarray(x) for name, x in weights(golden).items()}
        safetensors.numpy.save_file(state, source / "model.safetensors")
        convert_public_weights(source, folder / kind)
    return folder
