"""Analytic FLOPs of a train step, from the config alone; the numerator of MFU.

Two FLOPs per multiply-add, matrix products only. Attention counts all T x S pairs, masked ones too. A
backward pass costs twice the forward product, or once where the input needs no gradient (pixels, mels).
"Model" FLOPs exclude recomputation by a remat policy; "hardware" FLOPs include it, for plain attention (a
fused kernel recomputes the scores once more).
Source: the counting of PaLM's model FLOPs utilisation (Chowdhery et al., 2022).
"""

import dataclasses

from dualdub_jax.codecs.registry import grid_spec
from dualdub_jax.config import Config
from dualdub_jax.encoders import reference_mels
from dualdub_jax.encoders.base import SPEAKER_ENCODERS
from dualdub_jax.models.aligners import paper as paper_aligner
from dualdub_jax.models.aligners import script as script_aligner
from dualdub_jax.models.aligners.base import ALIGNERS
from dualdub_jax.types import STREAMS, Stream

_COUNTED = {
    *("pixels", "features", "grid", "paper", "transformer", "embedding"),
    *("attention_pooling", "mean_pooling", "depth", "linear"),
}


@dataclasses.dataclass(frozen=True)
class Macs:
    """Multiply-adds of one clip's forward pass.

    Attributes:
        full: products whose inputs and kernels need gradients.
        leaf: products whose kernels need gradients and whose inputs do not.
        fixed: products without gradients.
        repeated: the part of these that the config's remat policy recomputes.
    """

    full: int = 0
    leaf: int = 0
    fixed: int = 0
    repeated: int = 0

    def __add__(self, other: "Macs") -> "Macs":
        return Macs(
            *(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True))
        )


def has_formula(config: Config) -> bool:
    """Whether every part of the model is of a built-in kind; a fork's classes have no formula."""
    model = config.model
    kinds = (
        model.video.kind,
        model.aligner.kind,
        model.backbone,
        model.script_encoder,
        model.speaker_encoder,
    )
    kinds += tuple(config.streams[stream].head for stream in STREAMS)
    return {_name(kind) for kind in kinds} <= _COUNTED


def _name(kind: str) -> str:
    """The name of a kind without the sizes in brackets."""
    return kind.partition("(")[0]


def model_flops(config: Config, batch_size: int) -> float:
    """FLOPs of one optimizer step on `batch_size` clips, forward and backward, without recomputation."""
    macs = forward_macs(config)
    return 2.0 * batch_size * (3 * macs.full + 2 * macs.leaf + macs.fixed)


def hardware_flops(config: Config, batch_size: int) -> float:
    """As `model_flops`, with the recomputation of the config's remat policy."""
    return model_flops(config, batch_size) + 2.0 * batch_size * forward_macs(config).repeated


def forward_macs(config: Config) -> Macs:
    """Multiply-adds of one clip, all parts."""
    grid, model = config.grid, config.model
    frames = grid.num_frames
    positions = grid.num_script_tokens + model.num_speaker_vectors + frames
    heads = model.num_heads * model.head_dim
    kv_heads = model.num_kv_heads * model.head_dim
    backbone = _layers(model.num_layers, positions, model.width, heads, kv_heads, model.mlp_width)
    repeated = model.num_layers * repeated_by_a_layer(config, positions, heads, kv_heads, model.use_qk_norm)
    return (
        Macs(full=backbone, repeated=repeated)
        + _video(config)
        + _voice(config)
        + _aligner(config)
        + _script_aligner(config)
        + _head(config, "speech")
        + _head(config, "background")
    )


def _layers(num_layers: int, length: int, width: int, heads: int, kv_heads: int, mlp_width: int) -> int:
    attention = _attention(length, length, width, width, heads, kv_heads, length)
    return num_layers * (attention + length * 3 * width * mlp_width)


def repeated_by_a_layer(config: Config, length: int, heads: int, kv_heads: int, use_qk_norm: bool) -> int:
    """Multiply-adds of one layer that the config's remat policy (`layers/transformer.py`) recomputes.

    Args:
        config: of the run.
        length: of the sequence.
        heads: N H.
        kv_heads: K H.
        use_qk_norm: of this stack.
    """
    width, policy = config.model.width, config.model.remat_policy
    if policy == "none":
        return 0
    # The output of the last product is the input of the next layer, which is saved.
    feed_forward = 0 if policy in ("mlp", "dots") else length * 2 * width * config.model.mlp_width
    if policy in ("full", "mlp"):
        return feed_forward + _attention(length, length, width, width, heads, kv_heads, length)
    # Normalised queries and keys are saved; the backward pass of their norm needs the unnormalised ones.
    before_norms = length * width * (heads + kv_heads) if use_qk_norm else 0
    return feed_forward + before_norms + length * length * heads


def _attention(
    queries: int, keys: int, width: int, context_width: int, heads: int, kv_heads: int, attended: int
) -> int:
    projections = queries * 2 * width * heads + keys * 2 * context_width * kv_heads
    return projections + 2 * queries * attended * heads


def _video(config: Config) -> Macs:
    grid, model, video = config.grid, config.model, config.model.video
    frames = grid.num_frames
    heads = model.num_heads * model.head_dim
    temporal = _layers(video.num_layers, frames, model.width, heads, heads, model.mlp_width)
    repeated = video.num_layers * repeated_by_a_layer(config, frames, heads, heads, use_qk_norm=False)
    if video.kind == "features":
        return Macs(full=temporal, leaf=frames * video.feature_dim * model.width, repeated=repeated)
    positions = (grid.frame_size // video.patch_size) ** 2
    width = video.patch_width
    cut = positions * 3 * video.patch_size**2 * 3 * width  # the frame, and its differences to both neighbours
    merges = 0
    for merged_width in video.merge_widths:
        positions //= 4
        merges += positions * 4 * width * merged_width
        width = merged_width
    last = frames * (positions + 1) * width * model.width  # all positions, and their maximum
    pixels = frames * merges
    if model.remat_policy != "none":
        repeated += frames * cut + pixels  # no policy saves any of it: encoders/pixels.py
    return Macs(full=pixels + last + temporal, leaf=frames * cut, repeated=repeated)


def _voice(config: Config) -> Macs:
    grid, model = config.grid, config.model
    frames, width, vectors = grid.num_voice_frames, model.speaker_width, model.num_speaker_vectors
    hops = reference_mels.MELS_PER_FRAME
    mels = frames * hops * (reference_mels.N_FFT // 2 + 1) * reference_mels.N_MELS
    into = frames * hops * reference_mels.N_MELS * width
    heads = reference_mels.NUM_HEADS * (width // reference_mels.NUM_HEADS)
    if _name(model.speaker_encoder) == "mean_pooling":
        found, sizes = SPEAKER_ENCODERS.find(model.speaker_encoder)
        layers = _layers(sizes.get("num_layers", found.num_layers), frames, width, heads, heads, 2 * width)
        return Macs(full=layers + width * model.width, leaf=into, fixed=mels)
    layer = _layers(1, frames, width, heads, heads, 2 * width)
    pooling = _attention(vectors, frames, width, width, heads, heads, frames)
    out = vectors * (3 * width * 2 * width + width * model.width)
    return Macs(full=layer + pooling + out, leaf=into, fixed=mels)


def _aligner(config: Config) -> Macs:
    model, aligner = config.model, config.model.aligner
    frames, heads = config.grid.num_frames, aligner.num_heads * aligner.head_dim
    attention = _attention(frames, frames, model.width, model.width, heads, heads, frames)
    if _name(aligner.kind) == "paper":
        sizes = ALIGNERS.find(aligner.kind)[1]
        is_on = {True: aligner.use_causal, False: aligner.use_noncausal}
        attentions = [name for name, causal in paper_aligner.ATTENTIONS.items() if is_on[causal]]
        return Macs(full=attention * sum(sizes.get(name, True) for name in attentions))
    around = attention if aligner.use_noncausal else 0
    mutual = 2 * attention if aligner.use_causal else 0
    return Macs(full=frames * model.width**2 + around + mutual)


def _script_aligner(config: Config) -> Macs:
    if not config.model.aligner.use_script:
        return Macs()
    frames, tokens, width = config.grid.num_frames, config.grid.num_script_tokens, config.model.width
    key, context = script_aligner.KEY_WIDTH, 2 * script_aligner.NUM_NEIGHBOURS + 1
    script = tokens * width * (2 * context * width + key + width)
    projections = frames * width * (key + 2)  # queries, steps and sharpness
    attention = frames * tokens * (key + 1 + width)  # scores, positions, values
    return Macs(full=script + projections + attention)


def _head(config: Config, stream: Stream) -> Macs:
    width, codec = config.model.head_width, grid_spec(config, stream)
    if _name(config.streams[stream].head) == "linear":
        logits = codec.num_codebooks * codec.codebook_size
        return Macs(full=config.grid.num_frames * config.model.width * logits)
    a_codebook = width * (config.model.width + width + codec.codebook_size)
    return Macs(full=config.grid.num_frames * codec.num_codebooks * a_codebook)
