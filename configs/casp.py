"""CASP as in the public DualBench repository: two BEATs of 90M parameters, trained on 1 s crops.

    python -m dualdub_jax.casp.convert --beats BEATs_iter3_plus_AS2M.pt --out weights/beats
    dualdub train --config casp --workdir runs/casp --config.data_dir=DATA

The background encoder starts from the public BEATs weights, the speech encoder from random initialisation.
The authors trained on V2C-Animation's training split, whose stems are not redistributable: `data_dir` holds
your own dataset of the record schema (docs/data.md), named by `--config.casp_training.mixture.0.name=`.
Settings are theirs: batches of 64 pairs, AdamW at 2e-4 with 2,000 warm-up steps and cosine decay to zero,
weight decay 0.2 on all parameters, no clipping, float32, 115,000 steps (32 epochs). We have not trained at
this size.
"""

from ml_collections import ConfigDict

from dualdub_jax.configs import common


def get_config(arg: str = "") -> ConfigDict:
    if arg:
        raise ValueError(f"configs/casp.py: unknown variant {arg!r}; there are none")
    config = common.default_config()  # the defaults of casp and casp_training are DualBench's
    config.name = "casp"
    config.task = "casp"
    config.casp_training.audio_encoder = "weights/beats"
    config.casp_training.mixture = [{"name": "v2c_animation", "weight": 1.0}]
    config.checkpoint.save_every_steps = 1000
    return config
