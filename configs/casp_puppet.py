"""A small CASP for Puppet Stage, the harmony metric of `dualdub evaluate --suite puppet`.

    dualdub data build puppet_stage --out data
    dualdub train --config casp_puppet --workdir runs/casp_puppet

Differences from configs/casp.py: small encoders on 32 bands (what the stems share here, reverberation and
noise, is broad in frequency), both randomly initialised, a higher learning rate, fewer steps. Crops are 2 s:
acoustics are hard to estimate from 1 s, and no clip is shorter than 2 s. Longer windows would contain zero
padding that reveals a clip's length, by which pairs could be matched without their content. A stem is scored
on crops every half second.

Trained in half an hour of a shared core. On the 225 held-out clips with speech (benchmarks/casp_retrieval.py)
a stem's own partner ranks first of 32 in 12.8% of cases (95% interval 11.0 to 16.2; chance 3.1), and the mean
cosine is 0.65 for matched and 0.13 for mismatched pairs.
"""

from ml_collections import ConfigDict

from dualdub_jax.configs import common


def get_config(arg: str = "") -> ConfigDict:
    config = common.default_config()
    config.name = "casp_puppet"
    config.task = "casp"
    config.checkpoint.bundle_dtype = "bfloat16"
    config.casp.encoder.update({"num_mels": 32, "patch_width": 64, "width": 64, "num_layers": 2})
    config.casp.encoder.update({"num_heads": 4, "mlp_width": 128, "gradient_decay": 1.0})
    config.casp.encoder.update({"conv_kernel_size": 8, "conv_num_groups": 8})
    config.casp.encoder.update({"num_buckets": 64, "max_distance": 64})
    config.casp.initial_log_scale = 2.0
    for part in ("train", "score"):
        config.casp[f"{part}_crop_samples"] = config.casp[f"{part}_window_samples"] = 32_000
    config.casp.score_hop_samples = 8_000
    config.casp_training.mixture = common.mixture(soundtrack=1.0)
    config.casp_training.num_steps = 1500
    config.casp_training.optimizer.update({"learning_rate": 2e-3, "warmup_steps": 50, "clip_norm": 1.0})
    if arg == "tiny":
        config.name += "_tiny"
        config.casp.encoder.update({"patch_width": 8, "width": 16, "num_layers": 2, "num_heads": 2})
        config.casp.encoder.update({"mlp_width": 24, "conv_num_groups": 4})
        config.casp_training.update({"num_steps": 6, "batch_size": 4})
        config.checkpoint.save_every_steps = 4
        config.log_every_steps = 2
    elif arg:
        raise ValueError(f"configs/casp_puppet.py: unknown variant {arg!r}; there is 'tiny'")
    return config
