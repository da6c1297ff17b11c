"""The embedded default: about 7M parameters, trained on the Puppet Stage world on two CPU cores.

    dualdub data build puppet_stage --out data
    dualdub train --config configs/puppet.py --workdir runs/puppet

Two and a half to three and a half hours of one core. The bundled checkpoint has the speech codec of this run,
and a language model of nearly three times as many steps, which came by turns: docs/model_card.md has the
figures of both, and of a second seed. Phases that do not depend on each other can be trained side by side in
one workdir; on two cores, less than two hours:

    train="dualdub train --config configs/puppet.py --workdir runs/puppet"
    $train --phases codec_tokens_background & $train --phases codec_tokens_speech; wait
    $train --phases video_encoder & $train --phases text_speech; wait
    $train --phases codec_vocoder_speech,codec_vocoder_background,codec_acoustics_speech,codec_acoustics_background &
    $train --phases video_audio,soundtrack; wait
    $train                                                                       # writes the bundle

`configs/puppet.py:tiny` is the same run in miniature, for trying things out: minutes, and nothing to
listen to. `configs/puppet.py:finetune` goes on from the bundled checkpoint with the last stage alone, at a
lower rate: for your own clips, or to train the default further.
"""

from ml_collections import ConfigDict

from configs import common
from configs.stages import soundtrack, text_speech, video_audio
from dualdub_jax.bundles.bundle import default_bundle_path


def get_config(arg: str = "") -> ConfigDict:
    config = common.default_config()
    config.name = "puppet"
    config.checkpoint.bundle_dtype = "bfloat16"
    config.grid.num_script_tokens = 48  # the longest sentence of this world has 42 phonemes
    config.model.update({"script_tokenizer": "phonemes", "script_vocab_size": 96})
    config.model.aligner.use_script = True
    config.model.num_acoustics_bins = 24
    # The first codebook is phonetic, and the reference tells the decoder whose voice it is.
    config.speech_codec.update({"num_codebooks": 8, "phonetic_dim": 16, "speaker_dim": 64})
    config.speech_codec.update({"width": 256, "num_blocks": 4})
    # Windows of 32 ms: through 64 ms of mel, words and voices are lost whatever comes after them
    # (benchmarks/codec_limits.py).
    config.speech_codec.update({"n_fft": 512, "hop_length": 160, "n_mels": 64})
    config.speech_codec.update({"vocoder_n_fft": 320, "vocoder_hop_length": 80})
    config.loss.codebook_decay = 0.7  # the first codebooks say which word it is
    config.loss.past_dropout_rate = 0.3  # so that it reads what to say, and does not go by what was said
    config.speech_codec_training.mixture = common.mixture(soundtrack=1.0)
    config.background_codec_training.mixture = common.mixture(soundtrack=1.0)
    config.speech_codec_training.update({"num_steps": 6000, "vocoder_num_steps": 6000})
    config.background_codec_training.update({"num_steps": 5000, "vocoder_num_steps": 1500})
    for training in (config.speech_codec_training, config.background_codec_training):
        training.vocoder_batch_size = 8
        training.vocoder_optimizer.ema_decay = 0.995
        training.vocoder_adversarial_weight = 0.7
        training.vocoder_discriminator_optimizer.update({"learning_rate": 1e-3, "b1": 0.5})
        training.acoustics_optimizer.ema_decay = 0.995
    for codec in (config.speech_codec, config.background_codec):
        codec.acoustics_num_blocks = 4
    # On copies of test clips, spread brings backgrounds nearer to the true ones and makes voices worse:
    # fad and dnsmos_ovrl of benchmarks/codec_quality.py.
    config.speech_codec_training.vocoder_spread = 0.0
    config.background_codec.tonal_source = "grid"
    config.background_codec.noise_seed = 1
    config.video_training.update(
        {"mixture": common.mixture(soundtrack=0.6, video_audio=0.4), "num_steps": 1200}
    )
    config.stages = [
        text_speech.get_stage(num_steps=1200),
        video_audio.get_stage(num_steps=300),
        soundtrack.get_stage(num_steps=3600),
    ]
    # Guidance was chosen on the validation split (benchmarks/sampling_settings.py): without it lips suffer,
    # and guided in all its codebooks speech is harder to understand.
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
