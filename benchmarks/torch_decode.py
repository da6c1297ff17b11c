"""Generation with the PyTorch twin of the model (`torch_twin.py`): an eager loop with static caches.

The prefix is encoded once. Every frame runs the modules of the twin on one position, with keys and values in
preallocated tensors, and samples all codebooks in turn. Used by `decode.py`.
"""

import torch
import torch.nn.functional as F
import torch_twin
from torch import Tensor

Cache = tuple[Tensor, Tensor]  # keys and values, float[B, K, S, H]


class TwinDecoder:
    """Generates the tokens of a window.

    Args:
        model: the twin.
        temperatures: by stream; 0: greedy.
    """

    def __init__(self, model: torch_twin.DualDub, temperatures: dict[str, float]) -> None:
        self.model, self.temperatures = model.eval(), temperatures

    @torch.inference_mode()
    def generate(self, batch: dict[str, Tensor], num_frames: int) -> dict[str, Tensor]:
        """Tokens int64[B, T, Q] by stream of the first T frames; conditions as of `DualDub.forward`."""
        model = self.model
        script, mask = model.script_encoder(batch["script_tokens"], batch["script_mask"], batch["has_script"])
        voice = model.speaker_encoder(batch["voice"], batch["voice_mask"], batch["has_voice"])
        video = model.video_encoder(batch["video"], batch["frame_mask"], batch["has_video"])
        video = model.aligner.noncausal(video, batch["frame_mask"], batch["has_video"])
        prefix = torch.cat([script, voice], dim=1)
        size, num_prefix, length = len(prefix), prefix.shape[1], prefix.shape[1] + video.shape[1]
        is_valid = F.pad(mask, (0, length - mask.shape[1]), value=True)
        caches = [empty_cache(layer.attention, size, length) for layer in model.backbone.layers]
        run_backbone(model.backbone, prefix, caches, 0, is_valid[:, None, None, :num_prefix])
        causal = model.aligner.causal
        pasts = {
            "speech": empty_cache(causal.background_from_speech, size, video.shape[1]),
            "background": empty_cache(causal.speech_from_background, size, video.shape[1]),
        }
        tokens: dict[str, list[Tensor]] = {"speech": [], "background": []}
        for t in range(num_frames):
            embedded = {name: self._embed(name, codes, size) for name, codes in tokens.items()}
            speech, background = align(causal, embedded["speech"], embedded["background"], pasts, t)
            x = video[:, t : t + 1] + speech + background
            at = num_prefix + t
            state = run_backbone(model.backbone, x, caches, at, is_valid[:, None, None, : at + 1])[:, 0]
            for name, codes in tokens.items():
                head = getattr(model, f"{name}_head")
                codes.append(sample_codebooks(head, state, self.temperatures[name]))
        return {name: torch.stack(codes, dim=1) for name, codes in tokens.items()}

    def _embed(self, name: str, codes: list[Tensor], size: int) -> Tensor:
        embedding = getattr(self.model, f"{name}_embedding")
        if not codes:
            return embedding.begin.expand(size, 1, -1)
        rows = [F.embedding(codes[-1][:, q], table) for q, table in enumerate(embedding.embedding)]
        return torch.stack(rows).sum(dim=0)[:, None]


def empty_cache(attention: torch_twin.Attention, batch_size: int, length: int) -> Cache:
    """Preallocated keys and values of an attention."""
    num_heads = attention.key.out_features // attention.head_dim
    shape = (batch_size, num_heads, length, attention.head_dim)
    return torch.zeros(shape), torch.zeros(shape)


def attend(
    attention: torch_twin.Attention, x: Tensor, context: Tensor, cache: Cache, at: int, mask: Tensor | None
) -> Tensor:
    """Attention of positions `at` and following to all positions up to the last of them."""
    q = attention.query_norm(attention.query(x).unflatten(-1, (-1, attention.head_dim))).transpose(1, 2)
    k = attention.key_norm(attention.key(context).unflatten(-1, (-1, attention.head_dim))).transpose(1, 2)
    v = attention.value(context).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
    if attention.rope_theta:
        q, k = (rotate(part, attention.rope_theta, at) for part in (q, k))
    end = at + x.shape[1]
    keys, values = cache
    keys[:, :, at:end], values[:, :, at:end] = k, v
    is_grouped = q.shape[1] != k.shape[1]
    out = F.scaled_dot_product_attention(
        q, keys[:, :, :end], values[:, :, :end], attn_mask=mask, enable_gqa=is_grouped
    )
    return attention.out(out.transpose(1, 2).flatten(2))


def rotate(x: Tensor, theta: float, first: int) -> Tensor:
    """float[B, N, T, H], positions `first` and following."""
    half = x.shape[-1] // 2
    frequencies = theta ** (-torch.arange(half, dtype=torch.float32) / half)
    angles = torch.arange(first, first + x.shape[-2], dtype=torch.float32)[:, None] * frequencies
    cos, sin = angles.cos(), angles.sin()
    one, other = x.chunk(2, dim=-1)
    return torch.cat([one * cos - other * sin, other * cos + one * sin], dim=-1)


def run_backbone(
    backbone: torch_twin.Transformer, x: Tensor, caches: list[Cache], at: int, mask: Tensor
) -> Tensor:
    """The stack on positions `at` and following, float[B, T, D]."""
    for layer, cache in zip(backbone.layers, caches, strict=True):
        normed = layer.attention_norm(x)
        x = x + attend(layer.attention, normed, normed, cache, at, mask)
        x = x + layer.mlp(layer.mlp_norm(x))
    return backbone.norm(x)


def align(
    causal: torch_twin.StreamAttention, speech: Tensor, background: Tensor, pasts: dict[str, Cache], t: int
) -> tuple[Tensor, Tensor]:
    """Each stream after attention to the other's past; both streams are present."""
    s, b = causal.speech_norm(speech), causal.background_norm(background)
    to_speech = attend(causal.speech_from_background, s, b, pasts["background"], t, None)
    to_background = attend(causal.background_from_speech, b, s, pasts["speech"], t, None)
    return (
        speech + causal.speech_gate.tanh() * to_speech,
        background + causal.background_gate.tanh() * to_background,
    )


def sample_codebooks(head: torch_twin.DepthHead, state: Tensor, temperature: float) -> Tensor:
    """Codes int64[B, Q] of one frame from hidden states float[B, D]."""
    inputs = head.project_in(head.norm(state)).unflatten(-1, (len(head.out), -1))
    history, codes = torch.zeros_like(inputs[:, 0]), []
    for q, out in enumerate(head.out):
        x = torch_twin.gelu(inputs[:, q] + history)
        x = x + torch_twin.gelu(head.hidden(head.hidden_norm(x)))
        logits = x @ out
        if temperature:
            codes.append(torch.multinomial(torch.softmax(logits / temperature, dim=-1), 1)[:, 0])
        else:
            codes.append(logits.argmax(dim=-1))
        history = history + F.embedding(codes[-1], head.code_embedding[q])
    return torch.stack(codes, dim=-1)
