"""An idiomatic PyTorch implementation of the model and its train step, the reference of `train_step.py`.

It uses plain `nn.Module`s and `scaled_dot_product_attention`. Modules have the names of ours, so parameters
load by path (`load`). It is used by benchmarks only.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dualdub_jax.codecs.mel_rvq.config import MelRVQConfig
from dualdub_jax.config import Config, LossConfig, OptimizerConfig
from dualdub_jax.dsp.mel import LOG_FLOOR, mel_filterbank
from dualdub_jax.dsp.stft import hann_window
from dualdub_jax.encoders.reference_mels import MELS_PER_FRAME, N_FFT, N_MELS
from dualdub_jax.types import STREAMS

_EPSILON = 1e-6  # of RMSNorm, as in flax


def linear(inputs: int, outputs: int, bias: bool = False) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=bias)


def gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def vectors(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape))


def norm(width: int) -> nn.RMSNorm:
    return nn.RMSNorm(width, eps=_EPSILON)


class Attention(nn.Module):
    def __init__(self, width, num_heads, num_kv_heads, head_dim, rope_theta=0.0, use_qk_norm=False):
        super().__init__()
        self.head_dim, self.rope_theta = head_dim, rope_theta
        self.query = linear(width, num_heads * head_dim)
        self.key = linear(width, num_kv_heads * head_dim)
        self.value = linear(width, num_kv_heads * head_dim)
        self.out = linear(num_heads * head_dim, width)
        self.query_norm = norm(head_dim) if use_qk_norm else nn.Identity()
        self.key_norm = norm(head_dim) if use_qk_norm else nn.Identity()

    def forward(self, x: Tensor, mask: Tensor | None, context: Tensor | None = None) -> Tensor:
        """float[B, T, D]; `mask` broadcasts to [B, N, T, S]: bool, or float to be added to the logits."""
        context = x if context is None else context
        q = self.query_norm(self.query(x).unflatten(-1, (-1, self.head_dim))).transpose(1, 2)
        k = self.key_norm(self.key(context).unflatten(-1, (-1, self.head_dim))).transpose(1, 2)
        v = self.value(context).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        if self.rope_theta:
            q, k = rotate(q, self.rope_theta), rotate(k, self.rope_theta)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=q.shape[1] != k.shape[1])
        return self.out(out.transpose(1, 2).flatten(2))


def rotate(x: Tensor, theta: float) -> Tensor:
    """float[B, N, T, H], positions 0..T-1."""
    half = x.shape[-1] // 2
    frequencies = theta ** (-torch.arange(half, dtype=torch.float32) / half)
    angles = torch.arange(x.shape[-2], dtype=torch.float32)[:, None] * frequencies
    cos, sin = angles.cos(), angles.sin()
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class SwiGLU(nn.Module):
    def __init__(self, width, mlp_width):
        super().__init__()
        self.gate, self.up = linear(width, mlp_width), linear(width, mlp_width)
        self.down = linear(mlp_width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    def __init__(self, width, mlp_width, **attention):
        super().__init__()
        self.attention_norm, self.mlp_norm = norm(width), norm(width)
        self.attention = Attention(width, **attention)
        self.mlp = SwiGLU(width, mlp_width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), mask)
        return x + self.mlp(self.mlp_norm(x))


class Transformer(nn.Module):
    def __init__(self, num_layers, width, mlp_width, rope_theta=10_000.0, **attention):
        super().__init__()
        attention = attention | {"rope_theta": rope_theta}
        self.layers = nn.ModuleList(Block(width, mlp_width, **attention) for _ in range(num_layers))
        self.norm = norm(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x)


class ScriptEncoder(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.embedding = vectors(config.model.script_vocab_size, config.model.width)
        self.null = vectors(config.model.width)

    def forward(self, tokens: Tensor, mask: Tensor, has_script: Tensor) -> tuple[Tensor, Tensor]:
        mask = mask & has_script[:, None]
        is_null = ~has_script[:, None] & (torch.arange(tokens.shape[1]) == 0)
        x = F.embedding(torch.where(mask, tokens, 0), self.embedding)
        x = torch.where(is_null[:, :, None], self.null, x)
        mask = mask | is_null
        return torch.where(mask[:, :, None], x, 0.0), mask


class SpeakerEncoder(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        grid, width = config.grid, config.model.speaker_width
        self.samples_per_frame = grid.samples_per_frame
        self.null = vectors(config.model.num_speaker_vectors, config.model.width)
        self.queries = vectors(config.model.num_speaker_vectors, width)
        self.hop_length = grid.samples_per_frame // MELS_PER_FRAME
        self.inward = linear(MELS_PER_FRAME * N_MELS, width, bias=True)
        heads = {"num_heads": 4, "num_kv_heads": 4, "head_dim": width // 4}
        self.layers = Transformer(1, width, 2 * width, **heads)
        self.pooling = Attention(width, **heads)
        self.mlp = SwiGLU(width, 2 * width)
        self.mlp_norm, self.out_norm = norm(width), norm(width)
        self.out = linear(width, config.model.width)
        self.window = torch.from_numpy(hann_window(N_FFT))
        self.filterbank = torch.from_numpy(mel_filterbank(N_MELS, N_FFT, grid.sample_rate_hz))

    def forward(self, voice: Tensor, voice_mask: Tensor, has_voice: Tensor) -> Tensor:
        voice_mask = voice_mask & has_voice[:, None]
        sample_mask = voice_mask.repeat_interleave(self.samples_per_frame, dim=1)
        x = self.in_mels(torch.where(sample_mask, voice, 0.0)) * 0.25
        x = torch.where(voice_mask[:, :, None], self.inward(x), 0.0)
        x = self.layers(x, voice_mask[:, None, None, :])
        queries = self.queries.expand(len(x), -1, -1)
        pooled = self.pooling(queries, voice_mask[:, None, None, :], context=x)
        pooled = pooled + self.mlp(self.mlp_norm(pooled))
        return torch.where(has_voice[:, None, None], self.out(self.out_norm(pooled)), self.null)

    @torch.no_grad()
    def in_mels(self, voice: Tensor) -> Tensor:
        margin = (N_FFT - self.hop_length) // 2
        spectra = torch.stft(
            F.pad(voice, (margin, margin)),
            N_FFT,
            self.hop_length,
            window=self.window,
            center=False,
            return_complex=True,
        )
        magnitude = spectra.abs().transpose(1, 2) * (2.0 / self.window.sum())
        mels = (magnitude @ self.filterbank).clamp(min=LOG_FLOOR).log()  # [B, hops, n_mels]
        return mels.reshape(len(voice), -1, self.inward.in_features)


class PixelEncoder(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        video, self.patch_size = config.model.video, config.model.video.patch_size
        rows, width = config.grid.frame_size // self.patch_size, video.patch_width
        self.patch = linear(3 * self.patch_size**2, 3 * width, bias=True)
        self.num_levels = len(video.merge_widths)
        for i, merged_width in enumerate(video.merge_widths):
            self.add_module(f"norm_{i}", norm(4 * width))
            self.add_module(f"merge_{i}", linear(4 * width, merged_width))
            rows, width = rows // 2, merged_width
        self.where = linear(rows**2 * width, config.model.width)
        self.anywhere = linear(width, config.model.width)

    def forward(self, video: Tensor, frame_mask: Tensor) -> Tensor:
        x = self.patch(squares(video, self.patch_size).float() / 127.5 - 1.0)
        here, before, after = x.chunk(3, dim=-1)
        both = (frame_mask[:, 1:] & frame_mask[:, :-1])[:, :, None, None, None]
        nothing = torch.zeros_like(here[:, :1])
        rise = torch.where(both, before[:, :-1] - before[:, 1:], 0.0)
        fall = torch.where(both, after[:, 1:] - after[:, :-1], 0.0)
        x = gelu(here + torch.cat([nothing, rise], dim=1) + torch.cat([fall, nothing], dim=1))
        for i in range(self.num_levels):
            x = self.get_submodule(f"norm_{i}")(squares(x, 2))
            x = gelu(self.get_submodule(f"merge_{i}")(x))
        x = x.flatten(2, 3)
        return self.where(x.flatten(2)) + self.anywhere(x.amax(dim=2))


def squares(x: Tensor, side: int) -> Tensor:
    """[B, T, height, width, C] -> [B, T, height / side, width / side, side * side * C]."""
    batch, frames, height, width, channels = x.shape
    x = x.reshape(batch, frames, height // side, side, width // side, side, channels)
    return x.permute(0, 1, 2, 4, 3, 5, 6).flatten(4)


class VideoEncoder(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        model = config.model
        self.width = model.width
        self.pixels = PixelEncoder(config)
        self.temporal = Transformer(
            model.video.num_layers,
            model.width,
            model.mlp_width,
            num_heads=model.num_heads,
            num_kv_heads=model.num_heads,
            head_dim=model.head_dim,
        )

    def forward(self, video: Tensor, frame_mask: Tensor, has_video: Tensor) -> Tensor:
        if not has_video.any():
            return torch.zeros(*video.shape[:2], self.width)
        x = torch.where((frame_mask & has_video[:, None])[:, :, None], self.pixels(video, frame_mask), 0.0)
        return self.temporal(x, frame_mask[:, None, None, :])


class TimeBias(nn.Module):
    def __init__(self, num_heads, max_distance):
        super().__init__()
        self.max_distance = max_distance
        self.table = vectors(num_heads, 2 * max_distance + 1)

    def forward(self, num_frames: int) -> Tensor:
        time = torch.arange(num_frames)
        distance = (time[None, :] - time[:, None]).clamp(-self.max_distance, self.max_distance)
        return self.table[:, distance + self.max_distance]


class VideoAttention(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        width, aligner = config.model.width, config.model.aligner
        self.norm, self.null, self.direct = norm(width), vectors(width), linear(width, width)
        self.time_bias = TimeBias(aligner.num_heads, aligner.max_relative_frames)
        self.attention = Attention(width, aligner.num_heads, aligner.num_heads, aligner.head_dim)

    def forward(self, video: Tensor, frame_mask: Tensor, has_video: Tensor) -> Tensor:
        x = self.norm(video)
        bias = self.time_bias(video.shape[1]).masked_fill(~frame_mask[:, None, None, :], -torch.inf)
        return torch.where(has_video[:, None, None], self.direct(x) + self.attention(x, bias), self.null)


class StreamAttention(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        width, aligner = config.model.width, config.model.aligner
        self.speech_norm, self.background_norm = norm(width), norm(width)
        self.speech_gate, self.background_gate = vectors(1), vectors(1)
        heads = (aligner.num_heads, aligner.num_heads, aligner.head_dim)
        self.speech_from_background = Attention(width, *heads)
        self.background_from_speech = Attention(width, *heads)

    def forward(self, speech, background, has_speech, has_background) -> tuple[Tensor, Tensor]:
        causal = torch.ones(speech.shape[1], speech.shape[1], dtype=torch.bool).tril()
        s, b = self.speech_norm(speech), self.background_norm(background)
        to_speech = self.speech_from_background(s, causal & has_background[:, None, None, None], context=b)
        to_background = self.background_from_speech(b, causal & has_speech[:, None, None, None], context=s)
        return (
            speech + self.speech_gate.tanh() * to_speech,
            background + self.background_gate.tanh() * to_background,
        )


class Aligner(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.noncausal, self.causal = VideoAttention(config), StreamAttention(config)

    def forward(self, speech, background, video, frame_mask, has_video, has_speech, has_background) -> Tensor:
        video = self.noncausal(video, frame_mask, has_video)
        speech, background = self.causal(speech, background, has_speech, has_background)
        return video + speech + background


class StreamEmbedding(nn.Module):
    def __init__(self, codec: MelRVQConfig, width: int):
        super().__init__()
        self.embedding = vectors(codec.num_codebooks, codec.codebook_size, width)
        self.begin, self.null = vectors(width), vectors(width)

    def forward(self, codes: Tensor, is_present: Tensor) -> Tensor:
        """int64[B, T, Q] codes of each frame -> float[B, T, D], the frame before."""
        past = codes[:, :-1]
        x = sum(F.embedding(past[..., q], table) for q, table in enumerate(self.embedding))
        x = torch.cat([self.begin.expand(len(x), 1, -1), x], dim=1)
        return torch.where(is_present[:, None, None], x, self.null)


class DepthHead(nn.Module):
    def __init__(self, codec: MelRVQConfig, config: Config):
        super().__init__()
        q, v, w = codec.num_codebooks, codec.codebook_size, config.model.head_width
        self.norm, self.hidden_norm = norm(config.model.width), norm(w)
        self.project_in = linear(config.model.width, q * w, bias=True)
        self.hidden = linear(w, w)
        self.code_embedding = vectors(q, v, w)
        self.out = vectors(q, w, v)

    def forward(self, state: Tensor, codes: Tensor) -> Tensor:
        x = self.project_in(self.norm(state)).unflatten(-1, (len(self.out), -1))  # [B, T, Q, W]
        embedded = [F.embedding(codes[..., q], table) for q, table in enumerate(self.code_embedding)]
        embedded = torch.stack(embedded, dim=-2)
        x = gelu(x + embedded.cumsum(dim=-2) - embedded)
        x = x + gelu(self.hidden(self.hidden_norm(x)))
        return torch.einsum("btqw,qwv->btqv", x, self.out)


class DualDub(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        model = config.model
        self.script_encoder = ScriptEncoder(config)
        self.speaker_encoder = SpeakerEncoder(config)
        self.video_encoder = VideoEncoder(config)
        self.aligner = Aligner(config)
        self.backbone = Transformer(
            model.num_layers,
            model.width,
            model.mlp_width,
            num_heads=model.num_heads,
            num_kv_heads=model.num_kv_heads,
            head_dim=model.head_dim,
            rope_theta=model.rope_theta,
            use_qk_norm=model.use_qk_norm,
        )
        self.speech_embedding = StreamEmbedding(config.streams["speech"].codec, model.width)
        self.background_embedding = StreamEmbedding(config.streams["background"].codec, model.width)
        self.speech_head = DepthHead(config.streams["speech"].codec, config)
        self.background_head = DepthHead(config.streams["background"].codec, config)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits by stream, float[B, T, Q, V]; `batch` has the fields of `dualdub_jax.types.Batch`."""
        has_speech, has_background = batch["has_speech"], batch["has_background"]
        script, prefix_mask = self.script_encoder(
            batch["script_tokens"], batch["script_mask"], batch["has_script"]
        )
        voice = self.speaker_encoder(batch["voice"], batch["voice_mask"], batch["has_voice"])
        video = self.video_encoder(batch["video"], batch["frame_mask"], batch["has_video"])
        fused = self.aligner(
            self.speech_embedding(batch["speech_tokens"], has_speech),
            self.background_embedding(batch["background_tokens"], has_background),
            video,
            batch["frame_mask"],
            batch["has_video"],
            has_speech,
            has_background,
        )
        x = torch.cat([script, voice, fused], dim=1)
        num_prefix, length = x.shape[1] - video.shape[1], x.shape[1]
        is_valid = F.pad(prefix_mask, (0, length - prefix_mask.shape[1]), value=True)
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        causal[:, :num_prefix] = True
        state = self.backbone(x, (causal & is_valid[:, None, :])[:, None])[:, num_prefix:]
        return {
            "speech": self.speech_head(state, batch["speech_tokens"]),
            "background": self.background_head(state, batch["background_tokens"]),
        }


def loss_of(logits: dict[str, Tensor], batch: dict[str, Tensor], config: LossConfig) -> Tensor:
    """The training loss without z-loss: float32[]."""
    total = torch.zeros(())
    for stream in STREAMS:
        mask = batch["frame_mask"] & batch[f"has_{stream}"][:, None]
        codes = torch.where(mask[:, :, None], batch[f"{stream}_tokens"], -100)
        loss = F.cross_entropy(logits[stream].flatten(0, 2), codes.flatten(), reduction="sum")
        total = total + getattr(config, f"{stream}_weight") * loss / (mask.sum() * codes.shape[-1]).clamp(
            min=1
        )
    return total


class TrainStep:
    """Forward, backward, clipping, AdamW on kernels with decay, and the moving average."""

    def __init__(self, config: Config, optimizer: OptimizerConfig, num_steps: int):
        self.config, self.optimizer_config = config, optimizer
        self.model = DualDub(config)
        decayed = [p for name, p in self.model.named_parameters() if is_decayed(name, p)]
        others = [p for name, p in self.model.named_parameters() if not is_decayed(name, p)]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": optimizer.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=optimizer.learning_rate,
            betas=(optimizer.b1, optimizer.b2),
            fused=True,
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, num_steps)
        self.parameters = list(self.model.parameters())
        self.average = [p.detach().clone() for p in self.parameters]

    def gradients(self, batch: dict[str, Tensor]) -> Tensor:
        """Computes the gradients of the parameters and returns the loss, float32[]."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = loss_of(self.model(batch), batch, self.config.loss)
        loss.backward()
        return loss.detach()

    def __call__(self, batch: dict[str, Tensor]) -> Tensor:
        """One optimizer step; returns the loss, float32[]."""
        loss = self.gradients(batch)
        torch.nn.utils.clip_grad_norm_(self.parameters, self.optimizer_config.clip_norm)
        self.optimizer.step()
        self.schedule.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.parameters, 1.0 - self.optimizer_config.ema_decay)
        return loss

    def named_gradients(self) -> dict[str, Tensor]:
        """Gradients by parameter name; zeros for an unused parameter."""
        named = self.model.named_parameters()
        return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in named}

    def load(self, params: dict[str, np.ndarray]) -> None:
        """Loads a flat dictionary of our parameters, "backbone/norm/scale" -> array."""
        self.model.load_state_dict(state_dict_of(params))
        self.average = [p.detach().clone() for p in self.parameters]


def is_decayed(name: str, parameter: Tensor) -> bool:
    """True for kernels and the stacked output kernels of the heads."""
    return parameter.ndim >= 2 and (name.endswith("weight") or name.endswith("head.out"))


def state_dict_of(params: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Converts our arrays by path to the twin's tensors by name: transposes kernels, unstacks layers."""
    state = {}
    for path, array in params.items():
        path = path.replace("speaker_encoder/in/", "speaker_encoder/inward/")  # a keyword of Python
        name = path.replace("/kernel", "/weight").replace("/scale", "/weight").replace("/", ".")
        transpose = path.endswith("/kernel")
        stack, found, rest = name.rpartition("layers.")
        if found and rest != "norm.weight":
            for i, layer in enumerate(array):
                state[f"{stack}layers.{i}.{rest}"] = _tensor(layer, transpose)
        else:
            state[name] = _tensor(array, transpose)
    return state


def _tensor(array: np.ndarray, transpose: bool) -> Tensor:
    return torch.from_numpy(np.array(array.T if transpose else array))


def as_tensors(batch: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """The fields of a `Batch` as tensors; codes as int64, as torch indexing requires."""
    tensors = {name: torch.from_numpy(value) for name, value in batch.items()}
    return {name: t.long() if t.dtype == torch.int32 else t for name, t in tensors.items()}
