"""About 120M parameters: the first size that needs an accelerator.

    dualdub train --config small --workdir runs/small

Recommended meshes: one GPU or TPU chip (`data=-1`, the default); a v5e:2x4 or a host of 8 GPUs with data=8.
The state fits on every device, so nothing is sharded. `--config.stages.2.batch_size=` scales with the
devices.
"""

from ml_collections import ConfigDict

from dualdub_jax.configs.ladder import ladder_config


def get_config(arg: str = "") -> ConfigDict:
    if arg:
        raise ValueError(f"configs/small.py: unknown variant {arg!r}; there are none")
    config = ladder_config("small", batch_size=128, learning_rate=1e-3)
    config.model.update({"width": 768, "num_layers": 10, "num_heads": 12, "num_kv_heads": 4, "head_dim": 64})
    config.model.update({"mlp_width": 2048, "head_width": 384})
    config.model.video.merge_widths = (256,)
    config.model.aligner.update({"num_heads": 12, "head_dim": 64})
    return config
