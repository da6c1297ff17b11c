"""Writes `beats.npz`: a tiny CASP of random weights, run by the original code, for tests without torch.

    python tests/golden/make_beats_golden.py BEATS_DIR

Needs torch and torchaudio (whose Kaldi front end the original calls), and BEATS_DIR with `BEATs.py`,
`backbone.py` and `modules.py` of the public BEATs repository (microsoft/unilm, folder beats, MIT). CASP's own
layers on top are a few standard ones, stated here with the names that the authors' checkpoints have.
"""

import pathlib
import sys

import numpy as np

NUM_SAMPLES = 8_160  # 49 frames: 3 patches in time, 8 in frequency
SIZES = {
    "input_patch_size": 16,
    "embed_dim": 12,
    "encoder_layers": 2,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 24,
    "encoder_attention_heads": 2,
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "relative_position_embedding": True,
    "num_buckets": 16,  # so few that distances beyond the exact ones occur
    "max_distance": 20,
    "gru_rel_pos": True,
    "deep_norm": True,
}


def waveforms(seed: int) -> np.ndarray:
    """float32[2, NUM_SAMPLES]: decaying bursts of noise, and a rising tone over faint noise, peak one."""
    rng = np.random.default_rng(seed)
    t = np.arange(NUM_SAMPLES) / 16_000
    bursts = rng.normal(size=NUM_SAMPLES) * np.exp(-12 * (t % 0.25))
    tone = np.sin(2 * np.pi * (200 + 900 * t) * t) + 0.02 * rng.normal(size=NUM_SAMPLES)
    stems = np.stack([bursts, tone])
    return (stems / np.abs(stems).max(axis=1, keepdims=True)).astype(np.float32)


def main(beats_dir: str) -> None:
    sys.path.insert(0, beats_dir)
    import torch
    from BEATs import BEATs, BEATsConfig
    from torch import nn

    width = SIZES["encoder_embed_dim"]

    class Pooling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.Sequential(
                nn.Linear(width, width), nn.LayerNorm(width), nn.GELU(), nn.Linear(width, 1)
            )

    def projection() -> nn.Module:
        return nn.Sequential(
            nn.Linear(width, 2 * width), nn.LayerNorm(2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    torch.manual_seed(0)
    model = nn.Module()
    for stem in ("speech", "audio"):
        setattr(model, f"{stem}_encoder", BEATs(BEATsConfig(SIZES)).eval())
        setattr(model, f"{stem}_pooling", Pooling())
        setattr(model, f"{stem}_proj", projection())
    model.logit_scale = nn.Parameter(torch.tensor(1.0))
    golden: dict[str, np.ndarray] = {}
    with torch.no_grad():
        for parameter in model.parameters():  # zeros and ones would hide what is mixed up
            parameter.add_(0.2 * torch.randn_like(parameter))
        embeddings = {}
        for seed, stem in enumerate(("speech", "audio")):
            encoder, layers = getattr(model, f"{stem}_encoder"), []
            for layer in encoder.encoder.layers:
                layer.register_forward_hook(lambda _, __, out, to=layers: to.append(out[0].transpose(0, 1)))
            waveform = torch.tensor(waveforms(seed))
            encoded = encoder.extract_features(waveform, padding_mask=torch.zeros(waveform.shape).bool())[0]
            weights = getattr(model, f"{stem}_pooling").attention(encoded).squeeze(-1).softmax(dim=-1)
            pooled = (encoded * weights.unsqueeze(-1)).sum(dim=1)
            embeddings[stem] = nn.functional.normalize(getattr(model, f"{stem}_proj")(pooled), dim=-1)
            golden[f"{stem}/waveform"] = waveform.numpy()
            golden[f"{stem}/fbank"] = encoder.preprocess(waveform).numpy()
            golden[f"{stem}/layers"] = torch.stack(layers).numpy()
            golden[f"{stem}/embedding"] = embeddings[stem].numpy()
        scale = model.logit_scale.exp()
        golden["logits"] = (scale * embeddings["speech"] @ embeddings["audio"].t()).numpy()
        for name, tensor in model.state_dict().items():
            golden[f"weights/model.{name}"] = tensor.numpy()
    np.savez_compressed(pathlib.Path(__file__).with_name("beats.npz"), **golden)


if __name__ == "__main__":
    main(*sys.argv[1:])
