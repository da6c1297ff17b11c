"""Fits the classifier of `impact_sounds.py` to a rendered Puppet Stage and prints its ceilings.

    dualdub data build puppet_stage/soundtrack --out data
    python -m dualdub_jax.evaluation.listeners.fit_impact_sounds --data data/puppet_stage/soundtrack/2.0.0

Every training clip is used unchanged, through the codec of a bundle, and with random augmentation (gain,
noise, low-pass), so that the classifier is robust to such differences. About two minutes on one core.
"""

import argparse
import dataclasses
import io
import json
import pathlib
from collections.abc import Iterator

import numpy as np
import soundfile
import tensorflow_datasets as tfds
from scipy.optimize import minimize

from dualdub_jax.bundles.bundle import default_bundle_path
from dualdub_jax.evaluation.analysis import onsets
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ, Clip, at_metric_rate
from dualdub_jax.evaluation.listeners import impact_sounds
from dualdub_jax.evaluation.metrics.impacts import TOLERANCE_S, Impacts
from dualdub_jax.evaluation.run.systems import Checkpoint

_UNCLEAR_S = 0.12  # unmatched candidates this close to a contact are ambiguous and not used
_L2 = 3e-4


def read_split(data: pathlib.Path, split: str, limit: int) -> list[Clip]:
    """Reads the first `limit` clips with their true background, float32[S] at 16 kHz."""
    source = tfds.builder_from_directory(str(data)).as_data_source(split=split)
    clips = []
    for i in range(min(limit, len(source))):
        record = source[i]
        samples, rate_hz = soundfile.read(io.BytesIO(record["background"]), dtype="float32")
        background = at_metric_rate(samples, rate_hz, len(samples) / rate_hz)
        clips.append(
            Clip(
                id=record["id"].decode(),
                num_samples=len(background),
                background=background,
                world=json.loads(record["events"]),
            )
        )
    return clips


def through_codec(checkpoint: Checkpoint, clips: list[Clip]) -> list[np.ndarray]:
    """Encodes and decodes each background with the checkpoint's codec: float32[S] at 16 kHz each."""
    coded = (checkpoint.code(dataclasses.replace(clip, true_background=clip.background)) for clip in clips)
    return [tracks.background for tracks in coded]


def augmented(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Augments a track with random gain, white noise and, with probability 0.4, a low-pass filter."""
    samples = samples * 10 ** (rng.uniform(-18, 6) / 20)
    noise_dbfs = rng.uniform(-75, -40)
    samples = samples + rng.standard_normal(len(samples)) * 10 ** (noise_dbfs / 20)
    if rng.random() < 0.4:
        spectrum = np.fft.rfft(samples)
        frequency_hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE_HZ)
        samples = np.fft.irfft(spectrum * (frequency_hz < rng.uniform(2800, 6500)), len(samples))
    return samples


def examples(samples: np.ndarray, contacts: list[dict]) -> Iterator[tuple[np.ndarray, int]]:
    """Features and label of each candidate onset in a track; label 6 is "no impact"."""
    power = onsets.mel_power(samples)
    times_s = onsets.pick_onsets(onsets.onset_strength(power))
    true_s = np.array([contact["time_s"] for contact in contacts])
    owner = dict(onsets.match(times_s, true_s, TOLERANCE_S))
    for i, row in enumerate(impact_sounds.features(power, times_s)):
        if i in owner:
            yield row, impact_sounds.CLASSES.index(contacts[owner[i]]["class"])
        elif not len(true_s) or np.abs(true_s - times_s[i]).min() > _UNCLEAR_S:
            yield row, len(impact_sounds.CLASSES)


def fit(x: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Multinomial logistic regression with an L2 penalty.

    Args:
        x: float[N, features].
        labels: int[N], 0 to 6.

    Returns:
        Weights float64[features, 7] and biases float64[7].
    """
    num_classes = len(impact_sounds.CLASSES) + 1
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    targets = np.eye(num_classes)[labels]

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(x.shape[1], num_classes)
        logits = x @ weights
        logits -= logits.max(axis=1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        penalised = weights * (np.arange(len(weights)) < len(weights) - 1)[:, None]
        loss = -(targets * log_p).sum() / len(x) + _L2 * np.square(penalised).sum()
        gradient = x.T @ (np.exp(log_p) - targets) / len(x) + 2 * _L2 * penalised
        return loss, gradient.reshape(-1)

    start = np.zeros(x.shape[1] * num_classes)
    solution = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": 400})
    weights = solution.x.reshape(x.shape[1], num_classes)
    return weights[:-1], weights[-1]


def print_figures(title: str, clips: list[Clip], tracks: list[np.ndarray]) -> None:
    """Prints the metric's figures for these tracks on one line."""
    metric = Impacts()
    clips = [
        Clip(id=clip.id, num_samples=clip.num_samples, background=track, world=clip.world)
        for clip, track in zip(clips, tracks, strict=True)
    ]
    values = metric.score(clips)
    cells = []
    for figure in metric.figures:
        known = [value for value in values[figure.name] if value is not None]
        cells.append(f"{figure.name} {figure.summarise(known):.3f}")
    print(f"{title}: {', '.join(cells)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, required=True, help="a built soundtrack dataset")
    parser.add_argument("--bundle", type=pathlib.Path, default=default_bundle_path())
    parser.add_argument("--num-clips", type=int, default=900)
    parser.add_argument("--out", type=pathlib.Path, default=impact_sounds.ASSET)
    arguments = parser.parse_args()

    checkpoint = Checkpoint(arguments.bundle)
    rng = np.random.default_rng(0)
    clips = read_split(arguments.data, "train", arguments.num_clips)
    rows: list[np.ndarray] = []
    labels: list[int] = []
    for clip, coded in zip(clips, through_codec(checkpoint, clips), strict=True):
        for track in (clip.background, coded, augmented(clip.background, rng), augmented(coded, rng)):
            for row, label in examples(track, clip.world["contacts"]):
                rows.append(row)
                labels.append(label)
    print(f"{len(clips)} clips, {len(rows)} candidates, by class {np.bincount(labels).tolist()}")
    weights, biases = fit(np.stack(rows), np.array(labels))
    np.savez(
        arguments.out,
        weights=weights.astype(np.float32),
        biases=biases.astype(np.float32),
        classes=np.array(impact_sounds.CLASSES),
        world=np.array(f"puppet_stage {arguments.data.name}"),
    )
    for split in ("test_seen", "test_unseen"):
        held_out = read_split(arguments.data, split, 1000)
        print_figures(f"{split}, true", held_out, [clip.background for clip in held_out])
        print_figures(f"{split}, through the codec", held_out, through_codec(checkpoint, held_out))


if __name__ == "__main__":
    main()
