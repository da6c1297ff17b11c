"""Fits the coefficients of `room_acoustics.py` to a rendered Puppet Stage and prints the ceilings.

    dualdub data build puppet_stage/soundtrack --out data
    python -m dualdub_jax.evaluation.listeners.fit_room_acoustics --data data/puppet_stage/soundtrack/2.0.0

The training data are tracks of the training split, a part of them also through the codecs of the bundled
checkpoint, to match generated tracks. The ceilings are measured on the test split. About two minutes on one
core. Deterministic for given data and package versions.
"""

import argparse
import dataclasses
import io
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import soundfile
import tensorflow_datasets as tfds

from dualdub_jax.bundles.bundle import default_bundle_path
from dualdub_jax.evaluation.contracts.clips import Clip, at_metric_rate
from dualdub_jax.evaluation.listeners import room_acoustics
from dualdub_jax.evaluation.listeners.room_acoustics import LOG_RT60_MEAN, LOG_RT60_SPREAD, Track
from dualdub_jax.evaluation.metrics.acoustics import SPEECH_NOISE_OFFSET_DB, RoomAcoustics
from dualdub_jax.evaluation.run.systems import Checkpoint

_HIDDEN, _STEPS, _LEARNING_RATE, _WEIGHT_DECAY = 24, 250, 5e-3, 0.02
_JITTER = 0.3  # Gaussian noise on the standardised features while fitting
_OWN_LOSS = 0.1  # weight of the likelihood of single decays beside that of the clip
_RIDGE = 10.0


def read_split(data: pathlib.Path, split: str, limit: int) -> list[Clip]:
    """Reads the first `limit` clips with their true tracks; the speech track is None if silent."""
    source = tfds.builder_from_directory(str(data)).as_data_source(split=split)
    clips = []
    for i in range(min(limit, len(source))):
        record = source[i]
        speech, background, voice = (_read(record[name]) for name in ("speech", "background", "voice"))
        clips.append(
            Clip(
                id=record["id"].decode(),
                num_samples=len(background),
                speech=speech if speech.any() else None,
                background=background,
                voice=voice,
                world=json.loads(record["events"]),
            )
        )
    return clips


def _read(flac: bytes) -> np.ndarray:
    samples, rate_hz = soundfile.read(io.BytesIO(flac), dtype="float32")
    return at_metric_rate(samples, rate_hz, len(samples) / rate_hz)


def through_codec(checkpoint: Checkpoint, clip: Clip, track: Track) -> np.ndarray:
    """Encodes and decodes a clip's track with the checkpoint's codec: float32[S] at 16 kHz."""
    stem = dataclasses.replace(clip, **{f"true_{track}": getattr(clip, track)})
    return getattr(checkpoint.code(stem), track)


def fit(sounds: list[np.ndarray], rooms: list[dict], track: Track) -> dict[str, np.ndarray]:
    """Fits the coefficients of one track.

    Args:
        sounds: float32[S] at 16 kHz each.
        rooms: `Clip.world["room"]` of each.
        track: "speech" or "background".

    Returns:
        float32 arrays by name, as in the asset.
    """
    levels = [room_acoustics.band_levels_db(sound.astype(np.float64)) for sound in sounds]
    rt60 = np.array([(np.log(room["rt60_s"]) - LOG_RT60_MEAN) / LOG_RT60_SPREAD for room in rooms])
    offset_db = SPEECH_NOISE_OFFSET_DB if track == "speech" else 0.0
    noise_dbfs = np.array([room["noise_dbfs"] + offset_db for room in rooms])
    coefficients = _fit_votes([room_acoustics.decays(level) for level in levels], rt60)
    coefficients |= _fit_noise([room_acoustics.noise_features(level) for level in levels], noise_dbfs)
    return {f"{track}/{name}": np.asarray(value, np.float32) for name, value in coefficients.items()}


def _fit_votes(decays: list[np.ndarray], rt60: np.ndarray) -> dict[str, np.ndarray]:
    """Fits the network by the Gaussian likelihood of each clip's precision-weighted mean, full batch.

    Args:
        decays: float64[K, F] of each clip.
        rt60: float64[N], standardised log RT60.
    """
    owner = np.repeat(np.arange(len(decays)), [len(rows) for rows in decays])
    rows = np.concatenate(decays)
    mean, scale = rows.mean(axis=0), rows.std(axis=0) + 1.0
    features = jnp.asarray((rows - mean) / scale, jnp.float32)
    rng = np.random.default_rng(0)
    width = rows.shape[1]
    params = {
        "kernel_in": rng.normal(size=(width, _HIDDEN)) / width**0.5,
        "bias_in": np.zeros(_HIDDEN),
        "kernel_out": rng.normal(size=(_HIDDEN, 2)) * 0.1,
        "bias_out": np.array([0.0, -1.5]),
    }
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)

    def loss(params: dict, key: jax.Array) -> jax.Array:
        jittered = features + _JITTER * jax.random.normal(key, features.shape)
        hidden = jax.nn.relu(jittered @ params["kernel_in"] + params["bias_in"])
        opinion, log_precision = jnp.moveaxis(hidden @ params["kernel_out"] + params["bias_out"], 1, 0)
        precision = jnp.exp(jnp.clip(log_precision, -5, 4))
        total = jax.ops.segment_sum(precision, owner, len(decays)) + 1.0
        estimate = jax.ops.segment_sum(precision * opinion, owner, len(decays)) / total
        of_clips = jnp.mean(total * (estimate - rt60) ** 2 - jnp.log(total)) / 2
        of_votes = jnp.mean(precision * (opinion - rt60[owner]) ** 2 - jnp.log(precision)) / 2
        return of_clips + _OWN_LOSS * of_votes

    optimizer = optax.adamw(optax.cosine_decay_schedule(_LEARNING_RATE, _STEPS), weight_decay=_WEIGHT_DECAY)

    @jax.jit
    def step(params: dict, state: optax.OptState, key: jax.Array) -> tuple[dict, optax.OptState]:
        updates, state = optimizer.update(jax.grad(loss)(params, key), state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for i in range(_STEPS):
        params, state = step(params, state, jax.random.key(i))
    return {"decay_mean": mean, "decay_scale": scale, **params}


def _fit_noise(features: list[tuple[np.ndarray, float]], noise_dbfs: np.ndarray) -> dict[str, np.ndarray]:
    """Ridge regression of the noise level relative to the quietest band, in dB."""
    rows = np.stack([row for row, _ in features])
    target = noise_dbfs - np.array([lowest for _, lowest in features])
    mean, scale = rows.mean(axis=0), rows.std(axis=0) + 0.1
    deviations = (rows - mean) / scale
    gram = deviations.T @ deviations + _RIDGE * np.eye(rows.shape[1])
    kernel = np.linalg.solve(gram, deviations.T @ (target - target.mean()))
    return {"noise_mean": mean, "noise_scale": scale, "noise_kernel": kernel, "noise_bias": target.mean()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True, help="a built puppet_stage/soundtrack")
    parser.add_argument("--clips", type=int, default=1200, help="of the training split")
    parser.add_argument("--codec-clips", type=int, default=200, help="of those, also through the codecs")
    parser.add_argument("--test-clips", type=int, default=200)
    parser.add_argument("--out", type=pathlib.Path, default=room_acoustics.ASSET)
    args = parser.parse_args()
    clips = read_split(args.data, "train", args.clips)
    checkpoint = Checkpoint(default_bundle_path())
    coefficients = {}
    for track in room_acoustics.TRACKS:
        usable = [clip for clip in clips if getattr(clip, track) is not None]
        pairs = [(getattr(clip, track), clip.world["room"]) for clip in usable]
        coded = usable[: args.codec_clips]
        pairs += [(through_codec(checkpoint, clip, track), clip.world["room"]) for clip in coded]
        coefficients |= fit([sound for sound, _ in pairs], [room for _, room in pairs], track)
    np.savez(args.out, **coefficients)
    room_acoustics._weights.cache_clear()
    metric = RoomAcoustics()
    values = metric.score(read_split(args.data, "test_seen", args.test_clips))
    ceilings = {}
    for figure in metric.figures:
        known = [value for value in values[figure.name] if value is not None]
        ceilings[figure.name] = {"value": round(figure.summarise(known), 4), "n": len(known)}
    print(json.dumps(ceilings))


if __name__ == "__main__":
    main()
