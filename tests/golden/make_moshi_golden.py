"""Writes `moshi.npz`: a tiny Mimi of random weights in its authors' layout, run by their own code.

    pip install moshi
    python tests/golden/make_moshi_golden.py

The content has the names of `make_ports_golden.py`. Sizes are odd where the architecture permits; a head has
8 numbers.
"""

import pathlib

import numpy as np

SETTINGS = {"sampling_rate": 1200, "head_dim": 8, "sliding_window": 5}
_SEANET = {
    "channels": 1,
    "dimension": 24,
    "causal": True,
    "n_filters": 4,
    "n_residual_layers": 2,
    "activation": "ELU",
    "compress": 2,
    "dilation_base": 2,
    "disable_norm_outer_blocks": 0,
    "kernel_size": 7,
    "residual_kernel_size": 3,
    "last_kernel_size": 3,
    "norm": "none",
    "pad_mode": "constant",
    "ratios": [3, 2],
    "true_skip": True,
}
_TRANSFORMER = {
    "d_model": 24,
    "num_heads": 3,
    "num_layers": 2,
    "causal": True,
    "layer_scale": 0.01,
    "context": 5,
    "conv_layout": True,
    "max_period": 10000,
    "gating": "none",
    "norm": "layer_norm",
    "positional_embedding": "rope",
    "dim_feedforward": 40,
    "input_dimension": 24,
    "output_dimensions": [24],
}
_MIMI = {
    "channels": 1,
    "sample_rate": 1200,
    "frame_rate": 100,
    "seanet": _SEANET,
    "transformer": _TRANSFORMER,
    "quantizer": {
        "dimension": 12,
        "n_q": 4,
        "bins": 16,
        "input_dimension": 24,
        "output_dimension": 24,
    },
}


def main() -> None:
    import torch
    from moshi.models.loaders import get_mimi

    from tests.golden.make_ports_golden import sound

    torch.manual_seed(0)
    model = get_mimi(None, _MIMI, num_codebooks=4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        waveform = torch.tensor(sound(12 * 20))[:, None]
        latents = model.encode_to_latent(waveform, quantize=False)
        for quantizer in (model.quantizer.rvq_first, model.quantizer.rvq_rest):
            for i, layer in enumerate(quantizer.vq.layers):
                low = quantizer.input_proj(latents)[0].T[:16] / (i + 1)
                codebook = layer._codebook
                codebook.cluster_usage.copy_(0.5 + torch.rand(16))
                entries = low * (1 + 0.3 * torch.randn(16, 1)) + 0.02 * torch.randn(16, 12)
                codebook.embedding_sum.copy_(entries * codebook.cluster_usage[:, None])
                codebook._embedding = None
        codes = model.encode(waveform)
        arrays = {f"moshi/weights/{name}": x.numpy() for name, x in model.state_dict().items()}
        arrays |= {
            "moshi/waveform": waveform[:, 0].numpy(),
            "moshi/codes": codes.transpose(1, 2).numpy(),
            "moshi/decoded": model.decode(codes)[:, 0].numpy(),
        }
    np.savez_compressed(pathlib.Path(__file__).with_name("moshi.npz"), **arrays)


if __name__ == "__main__":
    main()
