"""Fine-tuning on a folder of films: held-out loss by number of films and steps, and its cost.

    dualdub data build puppet_stage/soundtrack --out data_7 --clips 120 --seed 7
    python benchmarks/finetune.py --data-dir data_7 --out out/finetune

Films of a Puppet Stage world that the bundled model was not trained on are written as .mp4, with speech and
background mixed in one sound track, as real films have them. `dualdub data build folder` makes datasets of
them, and `dualdub train --config puppet:finetune` fine-tunes the bundled model on the first N films. The
bundled model has never seen speech in its background stream, so there is something to adapt to.

Held-out loss is the mean cross-entropy of the background codes of other films, teacher-forced, in nats per
code, of the moving average that an export holds, at each kept checkpoint; step 0 is the bundled model. With
`--codec-steps`, the background codec is also trained further (`train_codecs`), and the log-mel distance
between held-out sound and its reconstruction is given. CPU seconds of a training are of all threads,
compilation included; a training that was resumed has none.
The last line is the same as JSON.
"""

import argparse
import contextlib
import itertools
import json
import pathlib
import resource
import sys
import tempfile

import jax
import numpy as np
import optax

from dualdub_jax.apps.cli import main as dualdub
from dualdub_jax.bundles.bundle import default_bundle_path, load_bundle
from dualdub_jax.codecs.registry import make_codecs
from dualdub_jax.config import Config, MeshConfig, SourceConfig, StageConfig, load_config
from dualdub_jax.curriculum.sources import RunSource
from dualdub_jax.data_pipeline import record as record_lib
from dualdub_jax.data_pipeline.dataset import Dataset
from dualdub_jax.data_pipeline.loader import make_batches
from dualdub_jax.dsp.mel import log_mel
from dualdub_jax.media.film import FilmReader
from dualdub_jax.media.mux import mux_soundtrack
from dualdub_jax.media.new_tracks import AudioTrack, NewTracks
from dualdub_jax.models.dualdub import make_model
from dualdub_jax.parallel.mesh import make_mesh
from dualdub_jax.types import STREAMS, Batch

_RATE_HZ = 16_000
_BATCH_SIZE = 8
_HELD_OUT = "held_out"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=pathlib.Path, required=True, help="with puppet_stage/soundtrack")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="films, datasets and runs; resumed")
    parser.add_argument("--films", default="10,40", help="numbers of films, with commas")
    parser.add_argument("--held-out", type=int, default=24, help="films that are not trained on")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--keep-every", type=int, default=50, help="steps between evaluated checkpoints")
    parser.add_argument("--learning-rate", type=float, default=7e-4, help="peak")
    parser.add_argument("--codec-steps", type=int, default=0, help="of the background codec's tokens")
    args = parser.parse_args()
    sizes = [int(size) for size in args.films.split(",")]
    datasets = {_HELD_OUT: (0, args.held_out)}
    datasets |= {f"films_{size}": (args.held_out, args.held_out + size) for size in sizes}
    for name, (first, last) in datasets.items():
        write_films(args.data_dir, args.out / name, first, last)
        done = dualdub(
            ["data", "build", "folder", "--source", str(args.out / name), "--out", str(args.out / "data"),
             "--short-side", "64", "--val-share", "0", "--processes", "1"]
        )  # fmt: skip
        if done:
            return done

    config, params = load_bundle(default_bundle_path())
    batches = held_out_batches(config, params, args.out / "data")
    loss = background_loss(config)
    found: dict[str, dict] = {"before": {"0": loss(params["model"], batches)}}
    for size in sizes:
        name = f"films_{size}"
        workdir, before_s = args.out / f"run_{size}", cpu_seconds()
        is_resumed = workdir.exists()
        done = train(args, workdir, name)
        if done:
            return done
        row = {} if is_resumed else {"cpu_s": cpu_seconds() - before_s}
        for step in range(args.keep_every, args.steps + 1, args.keep_every):
            run = RunSource(workdir / "soundtrack" / str(step), make_mesh(MeshConfig()))
            row[str(step)] = loss(run.part("model"), batches)
        found[name] = row
    if args.codec_steps:
        found["codec"] = codec_figures(args, config, params, f"films_{sizes[-1]}")
    steps = [str(step) for step in range(0, args.steps + 1, args.keep_every)]
    print(f"{'held-out nats per background code':<36}" + "".join(f"{'step ' + s:>10}" for s in steps[1:]))
    print(f"{'the bundled model':<36}{found['before']['0']:>10.3f}")
    for size in sizes:
        row = found[f"films_{size}"]
        cells = "".join(f"{row[step]:>10.3f}" for step in steps[1:])
        cost = f"  {row['cpu_s']:.0f} CPU s" if "cpu_s" in row else ""
        print(f"{f'fine-tuned on {size} films':<36}{cells}{cost}")
    if args.codec_steps:
        before, after = (found["codec"][key] for key in ("before", "after"))
        print(f"log-mel distance of the codec's reconstructions: {before:.3f}, after {after:.3f}")
    print(json.dumps(found))
    return 0


def write_films(data_dir: pathlib.Path, folder: pathlib.Path, first: int, last: int) -> None:
    """Writes training clips first … last - 1 of Puppet Stage as films with one sound track."""
    folder.mkdir(parents=True, exist_ok=True)
    path = next((data_dir / "puppet_stage" / "soundtrack").glob("[0-9]*"))
    records = Dataset(path, "puppet_stage/soundtrack").records("train")
    if last > len(records):
        raise SystemExit(f"{path}: has {len(records)} clips, and {last} are needed; build more")
    for index in range(first, last):
        out = folder / f"film_{index:04d}.mp4"
        if out.exists():
            continue
        record = records[index]
        seconds = record_lib.duration_s(record, str(index))
        mix = sum(record_lib.decode_stem(record[stream], str(index), seconds, _RATE_HZ) for stream in STREAMS)
        with tempfile.NamedTemporaryFile(suffix=".mp4") as silent, out.open("wb") as file:
            silent.write(record["video"])
            silent.flush()
            with FilmReader(silent.name) as reader:
                film = reader.film
            clipped = np.clip(mix, -1.0, 1.0).astype(np.float32)
            mux_soundtrack(film, NewTracks([AudioTrack(clipped, _RATE_HZ)]), out, file)


def train(args: argparse.Namespace, workdir: pathlib.Path, name: str, *overrides: str) -> int:
    """Runs `dualdub train`; returns its exit status."""
    mixture = json.dumps([{"name": name, "weight": 1}])
    optimizer = {"learning_rate": args.learning_rate, "warmup_steps": 20, "final_learning_rate_ratio": 0.1}
    values = {
        "data_dir": str(args.out / "data"),
        "stages.0.mixture": mixture,
        "stages.0.num_steps": args.steps,
        "stages.0.batch_size": _BATCH_SIZE,
        **{f"stages.0.optimizer.{key}": value for key, value in optimizer.items()},
        "stages.0.optimizer.ema_decay": 0.98,
        "checkpoint.save_every_steps": args.keep_every,
        "checkpoint.keep_every_steps": args.keep_every,
    }
    flags = [f"--config.{key}={value}" for key, value in values.items()]
    return dualdub(["train", "--config", "puppet:finetune", "--workdir", str(workdir), *flags, *overrides])


def held_out_batches(config: Config, params: dict, data_dir: pathlib.Path) -> list[Batch]:
    """One pass over the held-out films."""
    codecs = make_codecs(config, {stream: params[f"{stream}_codec"] for stream in STREAMS})
    stage = StageConfig(name=_HELD_OUT, mixture=(SourceConfig(_HELD_OUT),), batch_size=_BATCH_SIZE)
    finetune = load_config("puppet:finetune", [f"data_dir={data_dir}"])
    with contextlib.closing(
        make_batches(finetune, stage, codecs, split="train", seed=0, repeat=False, shuffle=False)
    ) as iterator:
        return [
            Batch(**{name: value for name, value in fields.items() if name != "example_ids"})
            for fields in iterator
        ]


def background_loss(config: Config):
    """A function from parameters and batches to the mean cross-entropy of background codes, nats."""
    model = make_model(config)

    @jax.jit
    def sums(params: dict, batch: Batch) -> tuple[jax.Array, jax.Array]:
        logits = model.apply({"params": params}, batch).logits["background"]
        mask = batch.frame_mask & batch.has_background[:, None]
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, batch.background_tokens)
        return (nats.mean(-1) * mask).sum(), mask.sum()

    def loss(params: dict, batches: list[Batch]) -> float:
        totals = [sums(params, batch) for batch in batches]
        return float(sum(nats for nats, _ in totals) / sum(count for _, count in totals))

    return loss


def codec_figures(args: argparse.Namespace, config: Config, params: dict, name: str) -> dict[str, float]:
    """Trains the background codec further, and compares reconstructions of held-out sound."""
    workdir, before_s = args.out / "run_codec", cpu_seconds()
    training = "streams.background.codec.training"
    values = {
        "train_codecs": '["background"]',
        "stages": "[]",
        f"{training}.mixture": json.dumps([{"name": name, "weight": 1}]),
        f"{training}.num_steps": args.codec_steps,
        f"{training}.optimizer.learning_rate": args.learning_rate,
        f"{training}.vocoder_num_steps": 0,
        f"{training}.acoustics_num_steps": 0,
        "data_dir": str(args.out / "data"),
    }
    flags = [f"--config.{key}={value}" for key, value in values.items()]
    if dualdub(["train", "--config", "puppet:finetune", "--workdir", str(workdir), *flags]):
        raise SystemExit(1)
    trained, variables = load_bundle(workdir / "bundle")
    return {
        "before": mel_distance(args, config, params),
        "after": mel_distance(args, trained, variables),
        "cpu_s": cpu_seconds() - before_s,
    }


def mel_distance(args: argparse.Namespace, config: Config, params: dict) -> float:
    """Mean absolute log-mel difference between held-out sound and its reconstruction."""
    codec = make_codecs(config, {stream: params[f"{stream}_codec"] for stream in STREAMS})["background"]
    dataset = next((args.out / "data" / _HELD_OUT).glob("[0-9]*"))
    distances = []
    for record in itertools.islice(Dataset(dataset, _HELD_OUT).records("train"), args.held_out):
        seconds = record_lib.duration_s(record, "clip")
        stem = record_lib.decode_stem(record["background"], "clip", seconds, codec.spec.sample_rate_hz)
        length = int(seconds * codec.spec.frame_rate) * codec.spec.samples_per_frame
        waveform = stem[None, :length]
        decoded = codec.decode(codec.encode(waveform))
        mels = [log_mel(np.asarray(x), codec.spec.sample_rate_hz, 1024, 320, 80) for x in (waveform, decoded)]
        distances.append(float(np.mean(np.abs(mels[0] - mels[1]))))
    return float(np.mean(distances))


def cpu_seconds() -> float:
    """Processor time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main())
