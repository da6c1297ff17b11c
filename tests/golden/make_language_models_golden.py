"""Writes `language_models.npz`: tiny public language models of random weights, run by `transformers`.

    python tests/golden/make_language_models_golden.py

Needs the extra `convert` (transformers and torch). Every model has its config.json under `MODEL/config`, its
state dict under `MODEL/weights/NAME` (float16, exactly), and tokens, final hidden states and logits under
`MODEL/NAME`. Head counts and sizes are odd where the architecture permits.
"""

import pathlib

import numpy as np

_SIZES = {"vocab_size": 37, "num_hidden_layers": 2, "max_position_embeddings": 64}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,  # so that 12 positions meet all three ranges
}
MODELS = {
    "llama": {"hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 40, "rms_norm_eps": 1e-5},
    "llama_linear": {
        "hidden_size": 20,
        "num_attention_heads": 5,
        "num_key_value_heads": 1,
        "intermediate_size": 28,
        "rope_parameters": {"rope_type": "linear", "rope_theta": 100_000.0, "factor": 4.0},
    },
    "llama3": {
        "hidden_size": 48,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "head_dim": 24,
        "intermediate_size": 36,
        "rope_parameters": LLAMA3,
        "tie_word_embeddings": True,
    },
    "qwen2": {
        "hidden_size": 36,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "intermediate_size": 44,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "tie_word_embeddings": True,
    },
    "qwen3": {
        "hidden_size": 28,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 10,
        "intermediate_size": 52,
        "rms_norm_eps": 3e-6,
    },
}


def main() -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    arrays: dict[str, np.ndarray] = {}
    torch.manual_seed(0)
    for name, sizes in MODELS.items():
        family = name if name.startswith("qwen") else "llama"
        defaults = {"num_key_value_heads": sizes["num_attention_heads"]}
        config = AutoConfig.for_model(family, **_SIZES, **(defaults | sizes))
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
        tokens = torch.randint(0, config.vocab_size, (2, 12))
        with torch.no_grad():
            for parameter in model.parameters():  # off the initial values, many of which are zeros and ones
                parameter.add_(0.2 * torch.randn_like(parameter)).copy_(parameter.half())
            output = model(tokens, output_hidden_states=True)
        arrays[f"{name}/config"] = np.array(config.to_json_string())
        arrays[f"{name}/tokens"] = tokens.numpy().astype(np.int32)
        arrays[f"{name}/hidden"] = output.hidden_states[-1].numpy()
        arrays[f"{name}/logits"] = output.logits.numpy()
        tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
        for key, x in model.state_dict().items():
            if key not in tied:
                arrays[f"{name}/weights/{key}"] = x.numpy().astype(np.float16)
    np.savez_compressed(pathlib.Path(__file__).with_name("language_models.npz"), **arrays)


if __name__ == "__main__":
    main()
