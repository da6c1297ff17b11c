"""About 8B parameters: the backbone has the dimensions of Qwen3-8B, whose weights fit.

    dualdub train --config xl --workdir runs/xl --distributed
    dualdub aot --config xl --topology v5p:4x4x4

Recommended meshes: v5p:4x4x4 with data=4, fsdp=16 (the default); 64 GPUs of 80 GB with fsdp=64.
As in configs/base.py, the vocabulary is an input table only, `--config.model.script_tokenizer=` names the
tokenizer file, and `--config.init_from.backbone=` the weights (docs/weights.md).
"""

from ml_collections import ConfigDict

from dualdub_jax.configs import common
from dualdub_jax.configs.ladder import ladder_config


def get_config(arg: str = "") -> ConfigDict:
    if arg:
        raise ValueError(f"configs/xl.py: unknown variant {arg!r}; there are none")
    config = ladder_config("xl", batch_size=1024, learning_rate=2e-4)
    config.mesh.update({"data": -1, "fsdp": 16})
    for codec in common.codecs(config):
        codec.codebook_size = 2048
    config.model.update(
        {"width": 4096, "num_layers": 36, "num_heads": 32, "num_kv_heads": 8, "head_dim": 128}
    )
    config.model.update({"mlp_width": 12_288, "use_qk_norm": True, "head_width": 1024, "speaker_width": 512})
    config.model.remat_policy = "dots"
    config.model.update({"script_tokenizer": "tokenizer.json", "script_vocab_size": 151_936})
    config.model.video.update({"patch_width": 512, "merge_widths": (1024,)})
    config.model.aligner.update({"num_heads": 32, "head_dim": 128})
    return config
