"""The phase that trains a flow on frozen tokens and latents.

The loss is the squared error of the velocity at random times. It has a minimum that generates nothing: far
apart, the discrete starts of the path tell the end at every time but 0. `regression_weight` makes each start
the mean of the latents that it stands for, which holds them together; `stop_gradient` keeps the flow's loss
from moving them at all. Both are our choice, which benchmarks/flow_decoder.py compares.
"""

import math
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.codecs.base import MakeCrops, RunPhase
from dualdub_jax.codecs.registry import abstract_codec, codec_class, codec_config, codec_spec
from dualdub_jax.config import Config
from dualdub_jax.decoders.flow_matching.config import DECODING_KEYS
from dualdub_jax.decoders.flow_matching.flow import flow_error
from dualdub_jax.decoders.flow_matching.latents import abstract_oobleck, make_latents, read_oobleck
from dualdub_jax.decoders.flow_matching.resampling import token_weights
from dualdub_jax.decoders.flow_matching.sampling import sample, standardised, token_mean
from dualdub_jax.decoders.flow_matching.stream_network import init_network, make_network
from dualdub_jax.parallel.sharding import constrain
from dualdub_jax.training.initial_values import with_values
from dualdub_jax.training.optimizer import make_optimizer, make_schedule
from dualdub_jax.training.phase import HeldOutLoss, Phase
from dualdub_jax.training.settings import settings_of
from dualdub_jax.training.state import TrainState, first_state, next_state
from dualdub_jax.types import Stream

PyTree = Any  # parameters or variables: nested dictionaries of arrays
Batch = dict[str, jax.Array]  # the fields `_FIELDS` of a crop, see `data_pipeline.loader.make_codec_batches`

_FIELDS = ("waveform", "target_waveform", "voice", "voice_mask")
_HELD_OUT_TIMES = (0.125, 0.375, 0.625, 0.875)


def phase_name(stream: Stream) -> str:
    """Name of the phase."""
    return f"decoder_{stream}"


class FlowTraining:
    """Implements `decoders.base.DecoderTraining`.

    Args:
        config: of the run.
        stream: whose decoder.
        make_batches: see `codecs.base.MakeCrops`.
        initial: variables, or some of them, from which training starts, with their statistics; None: random.

    Raises:
        UserError: as `make_latents`.
    """

    def __init__(
        self, config: Config, stream: Stream, make_batches: MakeCrops, initial: PyTree | None = None
    ) -> None:
        make_latents(config, stream)
        self._config, self._stream, self._make_batches = config, stream, make_batches
        self._initial = {n: x for n, x in (initial or {}).items() if n in ("flow", "statistics")}
        self.phases = (phase_name(stream),)

    def train(self, run: RunPhase, codec_variables: PyTree) -> PyTree | None:
        """Trains the flow; reads the frozen autoencoder, if that is its target.

        Raises:
            UserError: as `read_oobleck`.
        """
        decoder = self._config.streams[self._stream].decoder
        frozen, autoencoder = {"codec": codec_variables}, {}
        if decoder.target == "oobleck":
            autoencoder = read_oobleck(decoder, f"config.streams.{self._stream}.decoder")
            frozen["encoder"] = autoencoder["encoder"]
        result = run(
            flow_phase(self._config, self._stream, frozen, self._make_batches, self._initial or None)
        )
        if result is None or not autoencoder:
            return result
        return {**result, "autoencoder": autoencoder["decoder"]}


@flax.struct.dataclass
class Statistics:
    """Running mean and variance of each channel, over `count` latents.

    Attributes:
        count: float32[].
        mean, variance: float32[D].
    """

    count: jax.Array
    mean: jax.Array
    variance: jax.Array

    def updated(self, latents: jax.Array) -> "Statistics":
        """With float32[B, L, D] more latents (Chan et al., 1979)."""
        count = float(np.prod(latents.shape[:2]))
        mean, variance = jnp.mean(latents, axis=(0, 1)), jnp.var(latents, axis=(0, 1))
        total = self.count + count
        share = count / total
        shift = mean - self.mean
        between = share * (1.0 - share) * jnp.square(shift)
        within = (1.0 - share) * self.variance + share * variance
        return Statistics(total, self.mean + share * shift, within + between)

    @property
    def variables(self) -> dict[str, jax.Array]:
        """As a decoder stores them."""
        return {"mean": self.mean, "std": jnp.sqrt(self.variance)}


def flow_phase(
    config: Config, stream: Stream, frozen: PyTree, make_batches: MakeCrops, initial: PyTree | None = None
) -> Phase:
    """Trains embedding and velocity.

    Args:
        config: of the run.
        stream: whose decoder.
        frozen: {"codec": variables with which the codec encodes}, and with the target "oobleck" "encoder".
        make_batches: see `codecs.base.MakeCrops`.
        initial: {"flow", "statistics"} to start from; None: random values, and statistics of the first steps.

    Returns:
        The phase `decoder_<stream>`; its result is {"flow": averaged parameters, "statistics"}.
    """
    decoder = config.streams[stream].decoder
    training = decoder.training
    latents, layout = make_latents(config, stream)
    network = make_network(config, stream)
    optimizer = make_optimizer(training.optimizer, training.num_steps)
    schedule = make_schedule(training.optimizer, training.num_steps)
    num_latents = layout.num_latents(training.crop_frames)
    index, weights = token_weights(np.arange(num_latents), layout.tokens_per_latent, layout.resampling)
    weights = np.where((index >= 0) & (index < training.crop_frames), weights, 0.0).astype(np.float32)
    index = np.clip(index, 0, training.crop_frames - 1)
    statistics_steps = training.statistics_steps if initial is None else 0

    def init(rng: jax.Array, initial: PyTree | None) -> TrainState:
        initial = initial or {}
        statistics = Statistics(jnp.zeros(()), jnp.zeros(latents.dim), jnp.ones(latents.dim))
        if "statistics" in initial:
            given = initial["statistics"]
            statistics = Statistics(jnp.ones(()), given["mean"], jnp.square(given["std"]))
        params = with_values(init_network(config, stream, rng), initial.get("flow"))
        return first_state(params, optimizer, extra=statistics)

    def measured(batch: Batch, frozen: PyTree) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        """Latents float32[B, L, D], tokens int32[B, T, Q], speaker embedding."""
        batch = {name: constrain(x, "batch", *[None] * (x.ndim - 1)) for name, x in batch.items()}
        codec = codec_class(config, stream)(codec_config(config, stream), frozen["codec"])
        tokens = codec.encode(batch["waveform"])
        speaker = None
        if "speaker" in codec.spec.decode_conditions:
            speaker = codec.encode_speaker(batch["voice"], batch["voice_mask"])
        target = latents.encode(frozen.get("encoder"), batch)[:, :num_latents]
        return target, tokens, speaker

    def embed(params: PyTree, tokens: jax.Array) -> jax.Array:
        embedded = network.apply({"params": params}, tokens, method="embed")
        return token_mean(embedded, index, jnp.broadcast_to(weights, (len(tokens), *weights.shape)))

    def error(
        params: PyTree,
        embedded: jax.Array,
        condition: jax.Array,
        end: jax.Array,
        speaker: jax.Array | None,
        t: jax.Array,
        key: jax.Array,
    ) -> jax.Array:
        """Error of the velocity, float32[B]."""
        start = embedded
        if decoder.source == "noise":
            start = jax.random.normal(key, end.shape)
        mask = jnp.ones(end.shape[:2], bool)

        def velocity(x: jax.Array, t: jax.Array) -> jax.Array:
            return network.apply({"params": params}, x, t, mask, condition, speaker, method="velocity")

        return flow_error(velocity, start, end, t)

    def step(
        state: TrainState, batch: Batch, rng: jax.Array, frozen: PyTree
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        time_key, noise_key, drop_key = jax.random.split(rng, 3)
        target, tokens, speaker = measured(batch, frozen)
        statistics = jax.tree.map(
            lambda new, old: jnp.where(state.step < statistics_steps, new, old),
            state.extra.updated(target),
            state.extra,
        )
        end = standardised(target, statistics.variables)
        t = jax.random.uniform(time_key, end.shape[:1])
        is_dropped = jax.random.bernoulli(drop_key, training.condition_dropout_rate, end.shape[:1])

        def loss_fn(params: PyTree) -> tuple[jax.Array, dict[str, jax.Array]]:
            embedded = embed(params, tokens)
            condition = jnp.where(is_dropped[:, None, None], 0.0, embedded)
            start = jax.lax.stop_gradient(embedded) if training.stop_gradient else embedded
            flow = jnp.mean(error(params, start, condition, end, speaker, t, noise_key))
            regression = jnp.mean(jnp.square(embedded - end))
            loss = flow + training.regression_weight * regression
            return loss, {"loss": loss, "flow_loss": flow, "regression_loss": regression}

        grads, metrics = jax.grad(loss_fn, has_aux=True)(state.params)
        state, norm = next_state(state, grads, optimizer, training.optimizer.ema_decay, extra=statistics)
        return state, metrics | {"gradient_norm": norm, "learning_rate": schedule(state.step - 1)}

    def measure(state: TrainState, batch: Batch, rng: jax.Array, frozen: PyTree) -> PyTree:
        target, tokens, speaker = measured(batch, frozen)
        end = standardised(target, state.extra.variables)
        embedded = embed(state.ema_params, tokens)
        errors = [
            error(state.ema_params, embedded, embedded, end, speaker, jnp.full(end.shape[:1], t), rng)
            for t in _HELD_OUT_TIMES
        ]
        found = sample(
            decoder,
            network,
            {"params": state.ema_params},
            embedded,
            jnp.ones(end.shape[:2], bool),
            jnp.arange(num_latents),
            speaker,
        )
        sums = {
            "flow_loss": jnp.sum(jnp.stack(errors)) / len(errors),
            "loss": jnp.sum(jnp.mean(jnp.square(found - end), axis=(1, 2))),
        }
        return sums, jnp.float32(len(end))

    def summarise(sums: PyTree) -> dict[str, float]:
        totals, count = sums
        return {name: float(total / count) for name, total in totals.items()}

    start_from = {"codecs_from": config.codecs_from} if stream in config.train_codecs else {}
    target_crop = None
    if latents.crop_rate_hz:
        target_crop = (latents.crop_rate_hz, num_latents * layout.samples_per_latent)
    return Phase(
        name=phase_name(stream),
        num_steps=training.num_steps,
        settings=settings_of(
            without=DECODING_KEYS,
            seed=config.seed,
            codec=codec_config(config, stream),
            decoder=decoder,
            **start_from,
        ),
        init=init,
        initial=initial,
        frozen=frozen,
        step=step,
        make_batches=lambda: make_batches(training.batch_size, training.crop_frames, target_crop),
        prepare=lambda batch: {name: np.asarray(batch[name]) for name in _FIELDS if name in batch},
        parameters=lambda state: {"flow": state.ema_params, "statistics": state.extra.variables},
        # Not the flow's loss: it falls as the starts of the path move apart.
        held_out=HeldOutLoss(measure, summarise, marks_best=True),
        flops=lambda batch: flow_flops(config, stream),
    )


def abstract_frozen(config: Config, stream: Stream) -> PyTree:
    """Shapes of what the step reads and never changes, without their weights."""
    decoder = config.streams[stream].decoder
    frozen = {"codec": nn.unbox(abstract_codec(config, stream))}
    if decoder.target == "oobleck":
        frozen["encoder"] = abstract_oobleck(decoder)["encoder"]
    return frozen


def abstract_crops(config: Config, stream: Stream) -> Batch:
    """Shapes of a training batch."""
    training = config.streams[stream].decoder.training
    spec = codec_spec(config, stream)
    latents, layout = make_latents(config, stream)
    lengths = {"waveform": training.crop_frames * spec.samples_per_frame}
    if latents.crop_rate_hz:
        num_latents = layout.num_latents(training.crop_frames)
        lengths["target_waveform"] = num_latents * layout.samples_per_latent
    voice_frames = math.ceil(config.grid.num_voice_frames / config.grid.frame_rate * spec.frame_rate)
    masks = {}
    if stream == "speech":
        lengths["voice"] = voice_frames * spec.samples_per_frame
        masks["voice_mask"] = jax.ShapeDtypeStruct((training.batch_size, voice_frames), bool)
    waves = {n: jax.ShapeDtypeStruct((training.batch_size, size), jnp.float32) for n, size in lengths.items()}
    return waves | masks


def flow_flops(config: Config, stream: Stream) -> float:
    """Model FLOPs of a step of the flow's network on a batch, without frozen parts and recomputation.

    Counted as in models/analytic_flops.py.
    """
    decoder = config.streams[stream].decoder
    latents, layout = make_latents(config, stream)
    length = layout.num_latents(decoder.training.crop_frames)
    width = decoder.width
    inputs = latents.dim * (2 if decoder.condition == "concatenate" else 1)
    per_layer = 4 * width**2 + 3 * width * decoder.mlp_width + 2 * length * width
    per_latent = decoder.num_layers * per_layer + width * (inputs + latents.dim)
    per_clip = length * per_latent + width**2 * (6 * decoder.num_layers + 2)
    return 3 * 2.0 * per_clip * decoder.training.batch_size
