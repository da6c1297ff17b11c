"""The DualDub of the paper (arXiv 2507.10109), 1.5B parameters; docs/paper.md has its statements one by one.

    dualdub convert wavtokenizer_large_unify_600_24k.ckpt weights/wavtokenizer
    dualdub convert clip-vit-base-patch32 weights/clip
    dualdub convert stable-audio-open-1.0/model.safetensors weights/oobleck
    dualdub train --config dualdub --workdir runs/dualdub

Frozen parts are files of the user (docs/weights.md), also weights/cl100k_base.tiktoken; datasets are those of
docs/data.md. The paper trains on 8 A800 of 80 GB; `dualdub aot --config dualdub` estimates other machines
(docs/scaling.md). Comments name what the paper leaves open: "unstated".

`dualdub:late_aligner` is the other reading of its curriculum, in which stage 3 integrates the aligner.
`dualdub:tiny` is the same system in miniature, with random frozen parts, on Puppet Stage: minutes on a CPU.

    dualdub data build puppet_stage --out data
    python -m dualdub_jax.tools.random_parts --config dualdub:tiny
    dualdub train --config dualdub:tiny --workdir runs/dualdub_tiny
"""

from ml_collections import ConfigDict

from dualdub_jax.configs import common
from dualdub_jax.configs.stages import paper


def get_config(arg: str = "") -> ConfigDict:
    config = common.default_config()
    config.name = "dualdub"
    _set_inputs(config)
    _set_model(config)
    _set_decoders(config)
    is_late = arg == "late_aligner"
    # Without a path around the aligner, stage 1 would not see its video.
    sizes = "positions='rotary'" + (", starts_at_zero=True, adds_video=True" if is_late else "")
    config.model.aligner.kind = f"paper({sizes})"  # positions: unstated
    config.stages = paper.get_stages(
        {
            "warmup_steps": 4000,
            "b1": 0.9,
            "b2": 0.98,
            "eps": 1e-9,
            "weight_decay": 0.0,  # Adam
            "clip_norm": 1.0,  # unstated
            "ema_decay": 0.0,  # unstated: no average
        },
        freeze_aligner=is_late,
    )
    # The loss is the cross entropy of both streams and nothing else; their weights are unstated.
    config.loss.update({"condition_dropout_rate": 0.0, "past_dropout_rate": 0.0})
    # Unstated; there is no guidance, since conditions are never dropped.
    for stream in ("speech", "background"):
        config.sampling.update({f"{stream}_temperature": 1.0, f"{stream}_top_k": 250})
    config.mesh.update({"data": -1, "fsdp": 8})
    config.held_out.every_steps = config.checkpoint.save_every_steps = 1000
    if arg == "tiny":
        _shrink(config)
    elif arg and not is_late:
        raise ValueError(f"configs/dualdub.py: unknown variant {arg!r}; there are 'late_aligner' and 'tiny'")
    return config


def _set_inputs(config: ConfigDict) -> None:
    """What the model reads: frames of tokens and features, text, voice."""
    # The window is unstated: 10 s, the length of VGGSound's clips. Longer clips with a script are cut, or
    # left out, where a dataset is built. Prefix and frames are 112 + 400 positions, a multiple of a
    # TPU's lanes.
    config.grid.update({"frame_rate_hz": 40, "num_frames": 400, "num_script_tokens": 111})
    # 3 s of the target's speech; the sample rate of the mel-spectrogram is unstated.
    config.grid.update({"sample_rate_hz": 24_000, "num_voice_frames": 120})
    config.model.voice_source = "target"
    for stream in ("speech", "background"):
        # One WavTokenizer for both tracks, one codebook: 4096 codes, 40 a second.
        config.streams[stream].codec = ConfigDict({"kind": "wavtokenizer", "path": "weights/wavtokenizer"})
        config.streams[stream].head = "linear"  # one language model head a stream
    # Every third of 25 frames a second; which of CLIP's vectors is unstated.
    config.video_features.extractor = "clip(path='weights/clip', frame_rate_hz='25/3', vector='projected')"
    # A projection, and no layers over time.
    config.model.video.update({"kind": "features", "feature_dim": 512, "num_layers": 0})
    # tiktoken; which encoding is unstated. The table is padded to a multiple of 128.
    config.model.script_tokenizer = "tiktoken(path='weights/cl100k_base.tiktoken', encoding='cl100k_base')"
    config.model.script_vocab_size = 100_352
    config.model.background_prompt = "Generate audio for the video."
    # mel → encoder → mean over time: one vector. The encoder is unstated; it is trained with the model.
    config.model.update({"speaker_encoder": "mean_pooling(num_layers=2)", "num_speaker_vectors": 1})
    config.model.speaker_width = 512


def _set_model(config: ConfigDict) -> None:
    """A Llama of 24 layers and 16 heads of 128; the aligner."""
    config.model.update({"width": 2048, "num_layers": 24, "num_heads": 16, "head_dim": 128})
    # Unstated: those of Sheared-LLaMA-1.3B, whose shape this is, initialised at random;
    # --config.init_from.backbone=DIR starts from its weights.
    config.model.update({"num_kv_heads": 16, "mlp_width": 5504, "rope_theta": 10_000.0})
    config.model.update({"use_qk_norm": False, "use_qkv_bias": False, "rms_norm_eps": 1e-5})
    config.model.causal_prefix = True  # text, voice and frames are read left to right
    config.model.update({"compute_dtype": "bfloat16", "remat_policy": "attention"})
    config.model.aligner.update({"num_heads": 16, "head_dim": 128})  # unstated: those of the language model


def _set_decoders(config: ConfigDict) -> None:
    """Flow matching from the token embedding, without noise, into the latents of a frozen autoencoder."""
    sources = {"speech": ("libritts", "v2c_animation", "anim400k"),
               "background": ("vggsound", "v2c_animation", "anim400k")}  # fmt: skip
    for stream, names in sources.items():  # unstated: one decoder a stream
        decoder = {"kind": "flow_matching", "target": "oobleck", "path": "weights/oobleck"}
        decoder |= {"resampling": "nearest", "source": "embedding", "condition": "none"}
        decoder |= {"num_layers": 8, "num_heads": 16, "width": 2048}
        # Unstated: feed-forward width, Euler steps, blocks, and a table of the latent's width.
        decoder |= {"mlp_width": 5504, "num_euler_steps": 10, "embedding_dim": 0}
        decoder |= {"compute_dtype": "bfloat16", "remat_policy": "attention"}
        training = {"mixture": [{"name": name, "weight": 1.0} for name in names]}
        # The loss is that of the flow alone. Unstated: crops, steps, standardised latents, the optimizer,
        # which is the language model's.
        training |= {"regression_weight": 0.0, "stop_gradient": False, "statistics_steps": 50}
        training |= {"batch_size": 192, "crop_frames": 400, "num_steps": 100_000}
        optimizer = {"learning_rate": 2e-4, "warmup_steps": 4000, "final_learning_rate_ratio": 0.01}
        optimizer |= {"b1": 0.9, "b2": 0.98, "eps": 1e-9, "weight_decay": 0.0, "ema_decay": 0.0}
        decoder["training"] = {**training, "optimizer": optimizer}
        config.streams[stream].decoder = ConfigDict(decoder)


def _shrink(config: ConfigDict) -> None:
    """The system in miniature, in place: tiny random parts, four seconds, Puppet Stage."""
    config.name += "_tiny"
    config.grid.update({"num_frames": 160})
    sizes = {"num_filters": 2, "latent_dim": 16, "codebook_size": 64, "decoder_width": 32}
    sizes |= {"decoder_mlp_width": 64, "decoder_num_blocks": 1, "decoder_num_groups": 4}
    for stream in ("speech", "background"):
        config.streams[stream].codec.update({"path": "weights/tiny/wavtokenizer", **sizes})
        decoder = config.streams[stream].decoder
        decoder.update({"path": "weights/tiny/oobleck", "num_layers": 1, "num_heads": 2, "width": 16})
        decoder.update({"mlp_width": 32, "num_euler_steps": 2, "compute_dtype": "float32"})
        decoder.oobleck = {"multiples": (1, 2, 2, 2), "strides": (4, 8, 8, 4)}
        decoder.oobleck.update({"width": 4, "decoder_width": 4, "latent_dim": 4})
        decoder.training.update({"mixture": common.mixture(soundtrack=1.0), "num_steps": 6})
        decoder.training.update({"batch_size": 4, "crop_frames": 40, "statistics_steps": 2})
        decoder.training.optimizer.warmup_steps = 2
    config.video_features.extractor = "clip(path='weights/tiny/clip', frame_rate_hz='25/3')"
    config.model.video.feature_dim = 24
    # The hash of the file that `random_parts` writes.
    sha256 = "6e7010f0fe4ff3402e47593b3d6381c7853d8d3cd21c24efcc01d66bb9230527"
    config.model.script_tokenizer = f"tiktoken(path='weights/tiny/tiny.tiktoken', sha256='{sha256}')"
    config.model.script_vocab_size = 384
    config.model.update({"width": 32, "num_layers": 2, "num_heads": 2, "num_kv_heads": 2, "head_dim": 16})
    config.model.update({"mlp_width": 64, "speaker_width": 32, "compute_dtype": "float32"})
    config.model.remat_policy = "none"
    config.model.aligner.update({"num_heads": 2, "head_dim": 16})
    config.mesh.fsdp = 1
    names = {"vggsound": "video_audio", "libritts": "text_speech", "v2c_animation": "soundtrack"}
    for stage in config.stages:
        stage["mixture"] = [
            source | {"name": f"puppet_stage/{names[source['name']]}", "weight": 1.0}
            for source in stage["mixture"]
            if source["name"] in names
        ]
        stage.update({"num_steps": 6, "batch_size": 8})
        stage["optimizer"] |= {"learning_rate": 2e-3, "warmup_steps": 2}
    config.checkpoint.save_every_steps = 4
    config.held_out.update({"every_steps": 4, "num_clips": 8})
    config.log_every_steps = 2
