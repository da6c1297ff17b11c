"""About 2B parameters: the backbone has the dimensions of Qwen3-1.7B, whose weights fit.

    dualdub train --config large --workdir runs/large --distributed
    dualdub aot --config large --topology v5e:8x8

Recommended meshes: v5e:8x8 with data=4, fsdp=16 (the default); 32 GPUs of 80 GB with data=4, fsdp=8. The
remat policy "attention" allows 16 clips per chip of 16 GB; 80 GB suffice for "dots". As in configs/base.py,
the vocabulary is an input table only, `--config.model.script_tokenizer=` names the tokenizer file, and
`--config.init_from.backbone=` the weights (docs/weights.md).
"""

from ml_collections import ConfigDict

from dualdub_jax.configs import common
from dualdub_jax.configs.ladder import ladder_config


def get_config(arg: str = "") -> ConfigDict:
    if arg:
        raise ValueError(f"configs/large.py: unknown variant {arg!r}; there are none")
    config = ladder_config("large", batch_size=1024, learning_rate=3e-4)
    config.mesh.update({"data": -1, "fsdp": 16})
    for codec in common.codecs(config):
        codec.codebook_size = 2048
    config.model.update(
        {"width": 2048, "num_layers": 28, "num_heads": 16, "num_kv_heads": 8, "head_dim": 128}
    )
    config.model.update({"mlp_width": 6144, "use_qk_norm": True, "head_width": 1024, "speaker_width": 512})
    config.model.remat_policy = "attention"
    config.model.update({"script_tokenizer": "tokenizer.json", "script_vocab_size": 151_936})
    config.model.video.update({"patch_width": 384, "merge_widths": (768,)})
    config.model.aligner.update({"num_heads": 16, "head_dim": 128})
    return config
