"""About 0.6B parameters: the backbone has the dimensions of Qwen2.5-0.5B, whose weights fit.

    dualdub train --config base --workdir runs/base
    dualdub aot --config base --topology v5e:4x4

Recommended meshes: v5e:4x4 with data=4, fsdp=4 (the default); 8 GPUs of 80 GB with data=8
(`--config.mesh.fsdp=1`). More fsdp is slower, since its shards become narrower than the matrix unit. The
remat policy "dots" allows 16 clips per chip of 16 GB; for more clips or less memory use "attention" or
"full". The vocabulary is Qwen's, as an input table only: the model outputs no text, so there is no output
layer to tie. `--config.model.script_tokenizer=tokenizer.json` names Qwen's tokenizer file, and
`--config.init_from.backbone=DIR` its weights (docs/weights.md).
"""

from ml_collections import ConfigDict

from dualdub_jax.configs.ladder import ladder_config


def get_config(arg: str = "") -> ConfigDict:
    if arg:
        raise ValueError(f"configs/base.py: unknown variant {arg!r}; there are none")
    config = ladder_config("base", batch_size=256, learning_rate=6e-4)
    config.mesh.update({"data": -1, "fsdp": 4})
    config.model.update({"width": 896, "num_layers": 24, "num_heads": 14, "num_kv_heads": 2, "head_dim": 64})
    config.model.update({"mlp_width": 4864, "use_qkv_bias": True, "use_qk_norm": False, "head_width": 512})
    config.model.remat_policy = "dots"
    config.model.update({"script_tokenizer": "tokenizer.json", "script_vocab_size": 151_936})
    config.model.aligner.update({"num_heads": 14, "head_dim": 64})
    return config
