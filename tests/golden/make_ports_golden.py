"""Writes `ports.npz`: tiny public models of random weights, run by their original code, for tests without
torch.

    python tests/golden/make_ports_golden.py

Needs the extra `convert` (transformers, diffusers and torch). Every model has its state dict under
`MODEL/weights/NAME`, its inputs and outputs under `MODEL/NAME`; sizes are odd where the architecture permits.
"""

import pathlib

import numpy as np

WAVTOKENIZER = {
    "sampling_rate": 2400,
    "num_filters": 4,
    "upsampling_ratios": [3, 2, 4],
    "hidden_size": 24,
    "codebook_dim": 24,
    "codebook_size": 32,
    "decoder_hidden_size": 40,
    "decoder_intermediate_size": 56,
    "decoder_num_layers": 2,
    "decoder_attention_num_groups": 8,
}
DAC = {
    "sampling_rate": 3000,
    "encoder_hidden_size": 4,
    "downsampling_ratios": [2, 3, 5],
    "decoder_hidden_size": 24,
    "n_codebooks": 3,
    "codebook_size": 16,
    "codebook_dim": 4,
}
CLIP = {
    "hidden_size": 36,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "intermediate_size": 52,
    "image_size": 24,
    "patch_size": 8,
    "projection_dim": 20,
}
SIGLIP = {
    "hidden_size": 36,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "intermediate_size": 52,
    "image_size": 24,
    "patch_size": 8,
}
MIMI = {
    "sampling_rate": 1200,
    "hidden_size": 24,
    "num_filters": 4,
    "upsampling_ratios": [3, 2],
    "num_residual_layers": 2,
    "codebook_size": 16,
    "codebook_dim": 12,
    "vector_quantization_hidden_dimension": 12,
    "num_quantizers": 4,
    "upsample_groups": 24,
    "num_hidden_layers": 2,
    "intermediate_size": 40,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "sliding_window": 5,
}
OOBLECK = {
    "encoder_hidden_size": 6,
    "downsampling_ratios": [2, 4, 6],
    "channel_multiples": [1, 2, 3],
    "decoder_channels": 5,
    "decoder_input_channels": 3,
    "audio_channels": 2,
}


def sound(num_samples: int, num_rows: int = 1) -> np.ndarray:
    """float32[num_rows, num_samples]: a rising tone in noise."""
    rng = np.random.default_rng(num_samples)
    t = np.arange(num_samples) / num_samples
    return (0.3 * np.sin(40 * t * (1 + t)) + 0.1 * rng.normal(size=(num_rows, num_samples))).astype(
        np.float32
    )


def main() -> None:
    import torch
    from diffusers import AutoencoderOobleck
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
        DacConfig,
        DacModel,
        MimiConfig,
        MimiModel,
        SiglipImageProcessorPil,
        SiglipVisionConfig,
        SiglipVisionModel,
        WavTokenizerConfig,
        WavTokenizerModel,
    )

    def perturbed(model: torch.nn.Module) -> torch.nn.Module:
        """Moved off the initial values, many of which are zeros and ones."""
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return model.eval()

    arrays: dict[str, np.ndarray] = {}

    def keep(name: str, model: torch.nn.Module, **results: np.ndarray | torch.Tensor) -> None:
        weights = {f"{name}/weights/{key}": x for key, x in model.state_dict().items()}
        for key, x in (weights | {f"{name}/{key}": x for key, x in results.items()}).items():
            arrays[key] = x.detach().numpy() if isinstance(x, torch.Tensor) else x

    torch.manual_seed(0)
    model = perturbed(WavTokenizerModel(WavTokenizerConfig(**WAVTOKENIZER)))
    with torch.no_grad():
        # Entries where latents are; elsewhere all latents would have one nearest entry.
        latents = model.encoder_model.encoder(torch.tensor(sound(24 * 32, 1))[:, None])[0].T
        model.encoder_model.quantizer.codebook.embed.copy_(latents + 0.01 * torch.randn_like(latents))
        waveform = sound(24 * 20 + 7)
        codes = model.encode(torch.tensor(waveform)[:, None]).audio_codes
        short = model.encode(torch.tensor(waveform[:, :53])[:, None]).audio_codes
        keep(
            "wavtokenizer",
            model,
            waveform=waveform,
            codes=codes[:, 0],
            decoded=model.decode(codes).audio_values[:, 0],
            short_codes=short[:, 0],
            short_decoded=model.decode(short).audio_values[:, 0],
        )

    model = perturbed(DacModel(DacConfig(**DAC)))
    with torch.no_grad():
        waveform = sound(30 * 11)
        latents = model.encoder(torch.tensor(waveform)[:, None])
        for i, quantizer in enumerate(model.quantizer.quantizers):
            low = quantizer.in_proj(latents)[0].T
            low = low.repeat(2, 1)[:16] * (1 + 0.3 * torch.randn(16, 1)) + 0.02 * torch.randn(16, 4)
            quantizer.codebook.weight.copy_(low / (i + 1))
        codes = model.encode(torch.tensor(waveform)[:, None]).audio_codes
        decoded = model.decode(audio_codes=codes).audio_values
        keep("dac", model, waveform=waveform, codes=codes.transpose(1, 2), decoded=decoded)

    model = perturbed(CLIPVisionModelWithProjection(CLIPVisionConfig(**CLIP)))
    images = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3)).astype(np.uint8)
    mean = np.array([0.48145466, 0.4578275, 0.40821073])
    std = np.array([0.26862954, 0.26130258, 0.27577711])
    pixels = torch.tensor(((images / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32))
    with torch.no_grad():
        keep("clip", model, images=images, embedding=model(pixels).image_embeds)

    model = perturbed(AutoencoderOobleck(**OOBLECK))
    stereo = sound(48 * 9, 2).T[None]
    with torch.no_grad():
        latents = model.encode(torch.tensor(stereo.transpose(0, 2, 1))).latent_dist
        keep(
            "oobleck",
            model,
            waveform=stereo,
            mean=latents.mean.transpose(1, 2),
            std=latents.std.transpose(1, 2),
            decoded=model.decode(latents.mean).sample.transpose(1, 2),
        )

    model = perturbed(SiglipVisionModel(SiglipVisionConfig(**SIGLIP)))
    pixels = torch.tensor((images / 127.5 - 1).transpose(0, 3, 1, 2).astype(np.float32))
    with torch.no_grad():
        keep("siglip", model, images=images, pooled=model(pixels).pooler_output)

    # With Pillow < 13, which resamples rows first whatever the shape, as the models' training did.
    rng = np.random.default_rng(1)
    for name, shape in (("wide", (51, 90)), ("tall", (83, 40)), ("small", (17, 12))):
        picture = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
        as_they_are = {"do_rescale": False, "do_normalize": False}
        clip = CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24})
        siglip = SiglipImageProcessorPil(size={"height": 24, "width": 24}, resample=2)
        arrays[f"preprocessing/{name}"] = picture
        for key, processor in (("clip", clip), ("siglip", siglip)):
            made = processor(picture, return_tensors="np", **as_they_are)["pixel_values"][0]
            arrays[f"preprocessing/{name}_{key}"] = made.transpose(1, 2, 0).astype(np.uint8)

    model = perturbed(MimiModel(MimiConfig(**MIMI)))
    with torch.no_grad():
        for parameter in model.decoder.decoder_seanet.layers[-1].parameters():
            parameter.mul_(0.005)  # samples in [-1, 1]
        waveform = sound(12 * 20 + 7)
        latents = model.encoder(torch.tensor(waveform)[:, None]).latents
        for part in ("semantic", "acoustic"):
            quantizer = getattr(model.quantizer, f"{part}_residual_vector_quantizer")
            for i, layer in enumerate(quantizer.layers):
                low = quantizer.input_proj(latents)[0].T[:16] / (i + 1)
                layer.codebook.cluster_usage.copy_(0.5 + torch.rand(16))
                entries = low * (1 + 0.3 * torch.randn(16, 1)) + 0.02 * torch.randn(16, 12)
                layer.codebook.embed_sum.copy_(entries * layer.codebook.cluster_usage[:, None])
        codes = model.encode(torch.tensor(waveform)[:, None]).audio_codes
        two = model.encode(torch.tensor(waveform)[:, None], num_quantizers=2).audio_codes
        keep(
            "mimi",
            model,
            waveform=waveform,
            codes=codes.transpose(1, 2),
            decoded=model.decode(codes).audio_values[:, 0],
            two_decoded=model.decode(two).audio_values[:, 0],
        )

    np.savez_compressed(pathlib.Path(__file__).with_name("ports.npz"), **arrays)


if __name__ == "__main__":
    main()
