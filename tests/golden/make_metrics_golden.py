"""Writes `metrics.npz`: tiny metric models of random weights, and formulas, run by their original code.

    python tests/golden/make_metrics_golden.py AUDIOLDM_EVAL SPEECHMOS TORCHVGGISH

The arguments are checkouts of haoheliu/audioldm_eval, tarepan/SpeechMOS and harritaylor/torchvggish. Needs
the extra `convert`, and torchlibrosa, torchaudio, resampy and soundfile, which they import. The tests need
none of them. Every model has its state dict under `MODEL/weights/NAME`, its inputs and outputs under
`MODEL/NAME`; sizes are smaller than the public ones, and the code between them is unchanged.
"""

import pathlib
import sys
import types
from typing import Any

import numpy as np

WAVLM = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "conv_dim": [6, 8, 8, 8, 8, 8, 8],
    "num_conv_pos_embeddings": 12,
    "num_conv_pos_embedding_groups": 4,
    "num_buckets": 16,
    "max_bucket_distance": 40,
    "tdnn_dim": [10, 11, 12, 12, 14],
    "xvector_output_dim": 9,
    "num_labels": 3,
    "use_weighted_layer_sum": True,
}
UTMOS = {"conv_widths": [8] * 7, "width": 24, "num_heads": 3, "mlp_width": 20, "num_layers": 2,
         "position_kernel": 12, "position_groups": 4, "lstm_width": 7, "hidden_width": 11,
         "embedding_width": 5}  # fmt: skip
CNN14_WIDTHS = (3, 4, 5, 6, 7, 8)
LENGTHS = {"long": 40_011, "short": 33_100}


def sound(num_samples: int, sample_rate_hz: int = 16_000) -> np.ndarray:
    """float32[S]: a gliding tone with beats, in noise."""
    rng = np.random.default_rng(num_samples)
    t = np.arange(num_samples) / sample_rate_hz
    tone = np.sin(2 * np.pi * (300 + 400 * t) * t) * (0.6 + 0.4 * np.sin(9 * t))
    return (0.3 * tone + 0.05 * rng.normal(size=num_samples)).astype(np.float32)


def main(audioldm_eval: str, speechmos: str, torchvggish: str) -> None:
    sys.path[:0] = [audioldm_eval, speechmos, torchvggish]
    # Without its __init__, which imports all that its other metrics need.
    package = types.ModuleType("audioldm_eval")
    package.__path__ = [str(pathlib.Path(audioldm_eval, "audioldm_eval"))]
    sys.modules["audioldm_eval"] = package
    import torch
    import torchaudio
    from audioldm_eval.feature_extractors.panns import models as panns
    from audioldm_eval.metrics.fid import calculate_fid
    from audioldm_eval.metrics.isc import calculate_isc
    from audioldm_eval.metrics.kl import calculate_kl
    from speechmos.utmos22 import fairseq_alt
    from speechmos.utmos22.strong.model import UTMOS22Strong
    from torch import nn
    from torchlibrosa.stft import LogmelFilterBank, Spectrogram
    from torchvggish import vggish, vggish_input
    from transformers import WavLMConfig, WavLMForXVector

    arrays: dict[str, np.ndarray] = {}

    def perturbed(model: nn.Module) -> nn.Module:
        """Moved off the initial values, many of which are zeros and ones."""
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn_like(parameter))
            for name, buffer in model.named_buffers():
                if name.endswith("running_mean"):
                    buffer.add_(0.2 * torch.randn_like(buffer))
                elif name.endswith("running_var"):
                    buffer.mul_(0.5 + torch.rand_like(buffer))
        return model.eval()

    def keep(name: str, model: nn.Module, **results: Any) -> None:
        weights = {
            f"{name}/weights/{key}": x
            for key, x in model.state_dict().items()
            if not key.startswith("spectrogram_extractor.")
        }
        for key, x in (weights | {f"{name}/{key}": x for key, x in results.items()}).items():
            arrays[key] = x.detach().numpy() if isinstance(x, torch.Tensor) else x

    torch.manual_seed(0)
    with torch.no_grad():
        for rate, n_fft, hop, top in ((16_000, 512, 160, 8000), (32_000, 1024, 320, 14_000)):
            model = panns.Cnn14.__new__(panns.Cnn14)
            nn.Module.__init__(model)
            model.spectrogram_extractor = Spectrogram(
                n_fft=n_fft, hop_length=hop, win_length=n_fft, window="hann", center=True, pad_mode="reflect"
            )
            model.logmel_extractor = LogmelFilterBank(
                sr=rate, n_fft=n_fft, n_mels=64, fmin=50, fmax=top, ref=1.0, amin=1e-10, top_db=None
            )
            model.bn0 = nn.BatchNorm2d(64)
            for i, (before, after) in enumerate(zip((1, *CNN14_WIDTHS), CNN14_WIDTHS, strict=False)):
                setattr(model, f"conv_block{i + 1}", panns.ConvBlock(before, after))
            model.fc1 = nn.Linear(CNN14_WIDTHS[-1], CNN14_WIDTHS[-1])
            model.fc_audioset = nn.Linear(CNN14_WIDTHS[-1], 13)
            perturbed(model)
            model.bn0.running_mean.sub_(30.0)
            model.bn0.running_var.fill_(200.0)
            results = {name: model(torch.tensor(sound(n)[None])) for name, n in LENGTHS.items()}
            keep(
                f"cnn14_{rate}",
                model,
                **{f"{name}_embedding": out["2048"][0] for name, out in results.items()},
                **{f"{name}_logits": out["logits"][0] for name, out in results.items()},
            )

        layers: list[nn.Module] = []
        width = 1
        for v in (3, "M", 4, "M", 5, 5, "M", 6, 6, "M"):
            if v == "M":
                layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            else:
                layers += [nn.Conv2d(width, v, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
                width = v
        model = vggish.VGG(nn.Sequential(*layers))
        # Without the last ReLU, as audioldm_eval takes it off.
        sizes = (width * 4 * 6, 9, 8, 7)
        model.embeddings = nn.Sequential(
            nn.Linear(*sizes[:2]), nn.ReLU(True), nn.Linear(*sizes[1:3]), nn.ReLU(True), nn.Linear(*sizes[2:])
        )
        perturbed(model)
        patches = vggish_input.waveform_to_examples(sound(LENGTHS["long"]), 16_000)
        keep("vggish", model, patches=patches[:, 0], embeddings=model(patches))

        model = perturbed(WavLMForXVector(WavLMConfig(**WAVLM)))
        results = {name: model(torch.tensor(sound(n)[None])).embeddings[0] for name, n in LENGTHS.items()}
        keep("wavlm_sv", model, **results)

        utmos = UTMOS22Strong.__new__(UTMOS22Strong)
        nn.Module.__init__(utmos)
        encoder = fairseq_alt.Wav2Vec2Model.__new__(fairseq_alt.Wav2Vec2Model)
        nn.Module.__init__(encoder)
        feature_width, width = UTMOS["conv_widths"][-1], UTMOS["width"]
        kernels, strides = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
        encoder.feature_extractor = fairseq_alt.ConvFeatureExtractionModel(
            list(zip(UTMOS["conv_widths"], kernels, strides, strict=True))
        )
        encoder.layer_norm = nn.LayerNorm(feature_width)
        encoder.post_extract_proj = nn.Linear(feature_width, width)
        encoder.mask_emb = nn.Parameter(torch.zeros(width))
        transformer = fairseq_alt.TransformerEncoder.__new__(fairseq_alt.TransformerEncoder)
        nn.Module.__init__(transformer)
        transformer.required_seq_len_multiple = 2
        taps = UTMOS["position_kernel"]
        conv = nn.Conv1d(width, width, taps, padding=taps // 2, groups=UTMOS["position_groups"])
        transformer.pos_conv = nn.Sequential(
            nn.utils.weight_norm(conv, name="weight", dim=2), fairseq_alt.SamePad(taps), nn.GELU()
        )
        transformer.layer_norm = nn.LayerNorm(width)
        transformer.layers = nn.ModuleList(
            fairseq_alt.TransformerSentenceEncoderLayer(
                width, UTMOS["mlp_width"], UTMOS["num_heads"], "gelu", 0.0, 0.0, 0.0, False
            )
            for _ in range(UTMOS["num_layers"])
        )
        encoder.encoder = transformer
        encoder.dropout_input = nn.Dropout(0.0)
        utmos.wav2vec2 = encoder
        utmos.domain_emb = nn.Parameter(torch.randn(1, UTMOS["embedding_width"]))
        utmos.judge_emb = nn.Parameter(torch.randn(1, UTMOS["embedding_width"]))
        utmos.blstm = nn.LSTM(
            width + 2 * UTMOS["embedding_width"], UTMOS["lstm_width"], batch_first=True, bidirectional=True
        )
        utmos.projection = nn.Sequential(
            nn.Linear(2 * UTMOS["lstm_width"], UTMOS["hidden_width"]),
            nn.ReLU(),
            nn.Linear(UTMOS["hidden_width"], 1),
        )
        perturbed(utmos)
        # Odd and even numbers of frames: the original pads the odd ones.
        keep("utmos", utmos, **{n: utmos(torch.tensor(sound(s)[None]), 16_000) for n, s in LENGTHS.items()})

        rng = np.random.default_rng(0)
        for name, count in (("many", 60), ("few", 9)):
            pair = [rng.normal(size=(count, 12)).astype(np.float32) * (1 + 0.2 * i) + 0.1 * i for i in (0, 1)]
            generated, true = (
                {"x": torch.tensor(x), "file_path_": [f"{k}.wav" for k in range(count)]} for x in pair
            )
            arrays[f"formulas/{name}/generated"], arrays[f"formulas/{name}/true"] = pair
            arrays[f"formulas/{name}/fd"] = np.float64(
                calculate_fid(generated, true, "x")["frechet_distance"]
            )
            scores = calculate_isc(generated, "x", rng_seed=2020, samples_shuffle=True, splits=10)
            if count >= 10:
                arrays[f"formulas/{name}/is"] = np.float64(scores["inception_score_mean"])
            kl = calculate_kl(generated, true, "x")[0]["kullback_leibler_divergence_softmax"]
            arrays[f"formulas/{name}/kl"] = np.float64(kl)

        for rate in (24_000, 44_100, 48_000, 22_050, 8_000):
            samples = sound(3001, rate)
            arrays[f"resample/{rate}"] = torchaudio.functional.resample(
                torch.tensor(samples), rate, 16_000
            ).numpy()

    np.savez_compressed(pathlib.Path(__file__).with_name("metrics.npz"), **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
