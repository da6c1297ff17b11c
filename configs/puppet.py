"""The embedded default: about 7M parameters, trained on the Puppet Stage world on two CPU cores.

    dualdub data build puppet_stage --out data
    dualdub train --config puppet --workdir runs/puppet

Two and a half to three and a half core hours. The bundled checkpoint has the speech codec of this run and a
language model trained for nearly three times as many steps, in turns: docs/model_card.md has the figures of
both, and of a second seed. Independent phases can be trained side by side in one workdir, which takes less
than two hours on two cores:

    train="dualdub train --config puppet --workdir runs/puppet"
    $train --phases codec_tokens_background & $train --phases codec_tokens_speech; wait
    $train --phases video_encoder & $train --phases text_speech; wait
    vocoders=codec_vocoder_speech,codec_vocoder_background,codec_acoustics_speech,codec_acoustics_background
    $train --phases $vocoders &
    $train --phases video_audio,soundtrack; wait
    $train    # writes the bundle

`puppet:tiny` is the same run in miniature, to test a setup: minutes, and no audible quality.
`puppet:finetune` continues from the bundled checkpoint with the last stage alone, at a lower learning rate:
for your own clips, or to train the default further (docs/finetuning.md). Codecs are frozen unless
`train_codecs` names their streams.
"""

from ml_collections import ConfigDict

from dualdub_jax.bundles.bundle import default_bundle_path
from dualdub_jax.configs import common
from dualdub_jax.configs.stages import soundtrack, text_speech, video_audio


def get_config(arg: str = "") -> ConfigDict:
    config = common.default_config()
    config.name = "puppet"
    config.checkpoint.bundle_dtype = "bfloat16"
    config.grid.num_script_tokens = 48  # the longest sentence has 42 phonemes
    config.model.update({"script_tokenizer": "phonemes", "script_vocab_size": 96})
    config.model.aligner.use_script = True
    config.model.num_acoustics_bins = 24
    speech, background = common.codecs(config)
    # The first codebook predicts phonemes, and a speaker embedding of the reference conditions the decoder.
    speech.update({"num_codebooks": 8, "phonetic_dim": 16, "speaker_dim": 64})
    speech.update({"width": 256, "num_blocks": 4})
    # Windows of 32 ms: with 64 ms, word error rate and speaker similarity are worse for any decoder
    # (benchmarks/codec_limits.py).
    speech.update({"n_fft": 512, "hop_length": 160, "n_mels": 64})
    speech.update({"vocoder_n_fft": 320, "vocoder_hop_length": 80})
    config.loss.codebook_decay = 0.7  # intelligibility depends on the first codebooks
    config.loss.past_dropout_rate = 0.3  # so that codes depend on the script and not on the past alone
    for codec in common.codecs(config):
        codec.training.mixture = common.mixture(soundtrack=1.0)
    speech.training.update({"num_steps": 6000, "vocoder_num_steps": 6000})
    background.training.update({"num_steps": 5000, "vocoder_num_steps": 1500})
    for codec in common.codecs(config):
        training = codec.training
        training.vocoder_batch_size = 8
        training.vocoder_optimizer.ema_decay = 0.995
        training.vocoder_adversarial_weight = 0.7
        training.vocoder_discriminator_optimizer.update({"learning_rate": 1e-3, "b1": 0.5})
        training.acoustics_optimizer.ema_decay = 0.995
        codec.acoustics_num_blocks = 4
    # On reconstructions of test clips, spread improves background FAD and degrades speech DNSMOS:
    # benchmarks/codec_quality.py.
    speech.training.vocoder_spread = 0.0
    background.tonal_source = "grid"
    background.noise_seed = 1
    config.video_training.update(
        {"mixture": common.mixture(soundtrack=0.6, video_audio=0.4), "num_steps": 1200}
    )
    config.stages = [
        text_speech.get_stage(num_steps=1200),
        video_audio.get_stage(num_steps=300),
        soundtrack.get_stage(num_steps=3600),
    ]
    # Guidance was selected on the validation split (benchmarks/sampling_settings.py): without it, lip sync is
    # worse; with guidance of all codebooks, intelligibility is worse.
    config.sampling.update({"speech_temperature": 0.5, "background_temperature": 0.7})
    config.sampling.update({"guidance_scale": 2.0, "guidance_codebooks": 1})
    if arg == "finetune":
        _finetune(config)
    elif arg == "tiny":
        common.shrink(config)
    elif arg:
        raise ValueError(f"configs/puppet.py: unknown variant {arg!r}; there are 'finetune' and 'tiny'")
    return config


def _finetune(config: ConfigDict) -> None:
    config.name += "_finetune"
    config.codecs_from = config.model_from = str(default_bundle_path())
    config.video_training.num_steps = 0
    config.stages = [soundtrack.get_stage(num_steps=2000, learning_rate=7e-4)]
    # With `train_codecs`. The acoustics renderer is kept: films have no acoustics annotations.
    for codec in common.codecs(config):
        codec.training.update({"num_steps": 500, "vocoder_num_steps": 500, "acoustics_num_steps": 0})
        for optimizer in (codec.training.optimizer, codec.training.vocoder_optimizer):
            optimizer.learning_rate = 7e-4
