"""Defaults and helpers that configs share."""

from ml_collections import ConfigDict, FieldReference

from dualdub_jax.config import Config, to_dict


def default_config() -> ConfigDict:
    """All keys at their defaults; sequences (stages, mixtures) are lists of dictionaries."""
    config = ConfigDict(to_dict(Config()), convert_dict=True)
    for stream in (config.streams.speech, config.streams.background):
        # A name or a group of keys: `ConfigDict` would keep the type of the default.
        stream.decoder = FieldReference(stream.decoder, field_type=object)
    return config


def mixture(**weights: float) -> list[dict]:
    """A mixture of Puppet Stage's builder configs by weight, such as `mixture(soundtrack=1.0)`."""
    return [{"name": f"puppet_stage/{name}", "weight": weight} for name, weight in weights.items()]


def codecs(config: ConfigDict) -> list[ConfigDict]:
    """The codec groups of both streams."""
    return [config.streams.speech.codec, config.streams.background.codec]


def shrink(config: ConfigDict) -> None:
    """Shrinks a run in place, so that all its phases complete within minutes."""
    config.name += "_tiny"
    for codec in codecs(config):
        codec.update({"width": 32, "num_blocks": 1, "codebook_size": 32, "num_unquantised_steps": 4})
        codec.update({"vocoder_width": 32, "vocoder_num_blocks": 1, "acoustics_width": 16})
        training = codec.training
        training.update({"num_steps": 8, "vocoder_num_steps": 8, "acoustics_num_steps": 4})
        training.update({"batch_size": 4, "vocoder_batch_size": 4, "acoustics_batch_size": 4})
    config.model.update({"width": 32, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1, "head_dim": 16})
    config.model.update({"mlp_width": 64, "head_width": 32, "speaker_width": 32, "num_speaker_vectors": 2})
    config.model.video.update({"patch_width": 8, "merge_widths": (16, 16), "num_layers": 1})
    config.model.aligner.update({"num_heads": 2, "head_dim": 16})
    if config.video_training.num_steps:
        config.video_training.update({"num_steps": 6, "batch_size": 4})
    for stage in config.stages:
        stage.update({"num_steps": 6, "batch_size": 4})
    config.checkpoint.save_every_steps = 4
    config.log_every_steps = 2
    config.held_out.num_clips = 4
