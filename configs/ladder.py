"""Shared by the size ladder: small, base, large and xl are each a few lines on top of this.

Source: our choice. Windows are 15.36 s, so that prefix (120 script tokens, 8 speaker vectors) and 384 frames
make 512 positions, a multiple of the 128 lanes of a TPU. Codecs have the sizes of public ones (8 codebooks
of 1024, 25 frames/s). Video is pixels, 128 x 128 in patches of 16; `model.video.kind = "features"` takes
precomputed features instead.

The stages name Puppet Stage, so that each size can be tried immediately; a real run names its own datasets
(docs/data.md) in the same three stages.
"""

from ml_collections import ConfigDict

from dualdub_jax.configs import common
from dualdub_jax.configs.stages import soundtrack, text_speech, video_audio


def ladder_config(name: str, batch_size: int, learning_rate: float) -> ConfigDict:
    """A config without the sizes of the model.

    Args:
        name: of the size.
        batch_size: global, clips; of every stage.
        learning_rate: peak of the first stage; later stages use two thirds of it.
    """
    config = common.default_config()
    config.name = name
    config.checkpoint.bundle_dtype = "bfloat16"
    config.grid.update({"num_frames": 384, "frame_size": 128})
    config.grid.update({"num_script_tokens": 120, "num_voice_frames": 125})
    for codec in common.codecs(config):
        codec.update({"num_codebooks": 8, "codebook_size": 1024, "width": 512, "num_blocks": 8})
        codec.update({"latent_dim": 128, "vocoder_width": 512, "vocoder_num_blocks": 8})
        training = codec.training
        training.update({"mixture": common.mixture(soundtrack=1.0), "batch_size": 64, "crop_frames": 50})
        training.update({"num_steps": 100_000, "vocoder_num_steps": 200_000, "vocoder_batch_size": 64})
    config.model.update({"num_speaker_vectors": 8, "speaker_width": 256, "rope_theta": 1e6})
    config.model.update({"compute_dtype": "bfloat16", "remat_policy": "full"})  # overridden by larger sizes
    config.model.video.update({"patch_size": 16, "patch_width": 256, "merge_widths": (512,)})
    config.model.aligner.max_relative_frames = 64
    config.stages = [
        text_speech.get_stage(num_steps=100_000, learning_rate=learning_rate),
        video_audio.get_stage(num_steps=50_000, learning_rate=learning_rate * 2 / 3),
        soundtrack.get_stage(num_steps=100_000, learning_rate=learning_rate * 2 / 3),
    ]
    for stage in config.stages:
        stage.update({"batch_size": batch_size, "use_pretrained_video_encoder": False})
        stage["optimizer"] |= {"warmup_steps": 2000, "b2": 0.95, "weight_decay": 0.1, "ema_decay": 0.9999}
    return config
