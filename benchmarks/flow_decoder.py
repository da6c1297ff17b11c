"""Flow matching to log-mels: where its path starts, what trains the start; beside the codec's own decoder.

    dualdub data build puppet_stage/soundtrack --out data --clips 240
    python benchmarks/flow_decoder.py --data-dir data
    python benchmarks/flow_decoder.py --data-dir data --streams background --num-steps 2000
    python benchmarks/flow_decoder.py --data-dir data --rows rows.json      # resumes from finished rows

Every decoder is trained for the same number of steps, from the same seed, on the same crops and the frozen
codec of a bundle. Figures are of held-out clips, against the true log-mels:

- `mel_db`: root mean square error of the generated log-mels, over bands and frames, in dB.
- `wave_db`: the same of the log-mels of the waveform after the codec's vocoder.
- `spread`: standard deviation of the generated log-mels over that of the true ones, after the mean of each
  band; below 1, detail is averaged away.

The codec's own decoder had its whole training. `--rows` keeps each finished row in a file. It prints a table
and one line of JSON; `ratio_…` is the paper's variant over the best of the others. On shared CPUs, times
depend on neighbours.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.bundles.bundle import default_bundle_path, load_bundle
from dualdub_jax.codecs.base import of_stream
from dualdub_jax.codecs.registry import make_codec
from dualdub_jax.config import Config, OptimizerConfig, SourceConfig
from dualdub_jax.data_pipeline.loader import make_codec_batches
from dualdub_jax.decoders.flow_matching.config import FlowMatchingConfig, FlowTrainingConfig
from dualdub_jax.decoders.flow_matching.decoder import FlowMatchingDecoder
from dualdub_jax.decoders.flow_matching.training import flow_phase
from dualdub_jax.errors import UserError
from dualdub_jax.types import STREAMS, Stream

DB_PER_NAT = 20.0 / np.log(10.0)
# name -> keys of the decoder, and of its training
VARIANTS: dict[str, tuple[dict, dict]] = {
    "embedding, gradient (paper)": ({}, {"stop_gradient": False, "regression_weight": 0.0}),
    "embedding, stopped": ({}, {"stop_gradient": True, "regression_weight": 0.0}),
    "embedding, gradient, regression": ({}, {"stop_gradient": False, "regression_weight": 1.0}),
    "embedding, stopped, regression": ({}, {"stop_gradient": True, "regression_weight": 1.0}),
    "noise, concatenated": ({"source": "noise", "condition": "concatenate"}, {"regression_weight": 0.0}),
    "noise, added": ({"source": "noise", "condition": "add"}, {"regression_weight": 0.0}),
}
PAPER = "embedding, gradient (paper)"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkpoint", default=str(default_bundle_path()), help="bundle with mel_rvq codecs")
    parser.add_argument("--data-dir", default="data", help="folder of built datasets")
    parser.add_argument("--source", default="puppet_stage/soundtrack")
    parser.add_argument("--split", default="test_unseen", help="held-out split")
    parser.add_argument("--streams", default="speech,background")
    parser.add_argument("--num-steps", type=int, default=800)
    parser.add_argument("--num-batches", type=int, default=4, help="held-out batches of 8 crops of 2 s")
    parser.add_argument("--rows", type=pathlib.Path, help="file of finished rows, read and added to")
    args = parser.parse_args()
    try:
        config, params = load_bundle(args.checkpoint)
        finished = FinishedRows(args)
        figures = {}
        for stream in STREAMS:
            if stream in args.streams.split(","):
                figures[stream] = measure_stream(config, params[f"{stream}_codec"], stream, args, finished)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    report = {}
    for stream, rows in figures.items():
        best = min(row["mel_db"] for name, row in rows.items() if name not in (PAPER, "codec's own decoder"))
        report[f"ratio_{stream}_mel_db"] = round(rows[PAPER]["mel_db"] / best, 4)
        for name, row in rows.items():
            report |= {f"{stream}: {name}: {key}": round(value, 4) for key, value in row.items()}
    print(json.dumps(report))
    return 0


class FinishedRows:
    """Figures by stream and row in a file, with the settings that they depend on.

    Raises:
        UserError: the file has rows of other settings.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self._path = args.rows
        names = ("checkpoint", "data_dir", "source", "split", "num_steps", "num_batches")
        self._content = {"settings": {name: getattr(args, name) for name in names}, "rows": {}}
        if self._path is not None and self._path.is_file():
            content = json.loads(self._path.read_text(encoding="utf-8"))
            if content["settings"] != self._content["settings"]:
                raise UserError(f"--rows {self._path}: has rows of other settings; name another file")
            self._content = content

    def measured(
        self, stream: Stream, name: str, measure: Callable[[], dict[str, float]]
    ) -> dict[str, float]:
        """The row in the file; otherwise measures, keeps and returns it."""
        rows = self._content["rows"].setdefault(stream, {})
        if name not in rows:
            started = time.monotonic()
            rows[name] = measure()
            show(stream, name, rows[name], time.monotonic() - started)
            if self._path is not None:
                self._path.write_text(json.dumps(self._content, indent=1) + "\n", encoding="utf-8")
        else:
            show(stream, name, rows[name], 0.0)
        return rows[name]


def measure_stream(
    config: Config,
    codec_variables: dict,
    stream: Stream,
    args: argparse.Namespace,
    finished: FinishedRows,
) -> dict[str, dict[str, float]]:
    """Figures of the codec's own decoder and of every variant, by name."""
    config = dataclasses.replace(config, data_dir=args.data_dir)
    source = SourceConfig(args.source)
    held_out = list(
        make_codec_batches(
            config, stream, mixture=(source,), seed=1, batch_size=8, crop_frames=50, split=args.split
        ).head(args.num_batches)
    )
    codec = make_codec(config, stream, codec_variables)
    own_name = "codec's own decoder"
    rows = {own_name: finished.measured(stream, own_name, lambda: codec_figures(codec, held_out))}
    for name, (keys, training) in VARIANTS.items():
        decoder = FlowMatchingConfig(
            **{"num_layers": 3, "num_heads": 4, "width": 128, "mlp_width": 352, **keys},
            training=FlowTrainingConfig(
                mixture=(source,),
                crop_frames=25,
                batch_size=8,
                num_steps=args.num_steps,
                optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=50, ema_decay=0.99),
                **training,
            ),
        )
        group = dataclasses.replace(config.streams[stream], decoder=decoder)
        own = dataclasses.replace(config, streams=dataclasses.replace(config.streams, **{stream: group}))

        def figures(own: Config = own) -> dict[str, float]:
            variables = train(own, stream, codec_variables)
            return flow_figures(FlowMatchingDecoder(own, stream, variables, codec), codec, held_out)

        rows[name] = finished.measured(stream, name, figures)
    return rows


def train(config: Config, stream: Stream, codec_variables: dict) -> dict:
    """Variables of a decoder, trained by the steps of its phase."""
    mixture = config.streams[stream].decoder.training.mixture

    def make(batch_size, crop_frames, target=None):
        return make_codec_batches(
            config, stream, mixture=mixture, seed=0, batch_size=batch_size, crop_frames=crop_frames
        )

    frozen = {"codec": jax.tree.map(jnp.asarray, codec_variables)}
    phase = of_stream(flow_phase(config, stream, frozen, make), stream)
    state = nn.unbox(jax.jit(phase.init)(jax.random.key(0), None))
    step = jax.jit(phase.step, donate_argnums=0)
    batches = phase.make_batches()
    for i in range(phase.num_steps):
        state, metrics = step(state, phase.prepare(next(batches)), jax.random.key(i), phase.frozen)
    batches.close()
    if not np.isfinite(float(metrics["loss"])):
        raise ValueError(f"{phase.name}: the loss is not finite")
    return phase.parameters(state)


def codec_figures(codec, held_out: list[dict]) -> dict[str, float]:
    """The codec's own decoder."""
    generated, waves, true = [], [], []
    for batch in held_out:
        tokens, conditions = coded(codec, batch)
        mask = np.ones(tokens.shape[:2], bool)
        decode = jax.jit(codec.modules.decode_tokens)
        generated.append(np.asarray(decode(codec.variables, tokens, mask, conditions.get("speaker"))[0]))
        waves.append(np.asarray(codec.modules.log_mel(codec.decode(tokens, None, conditions))))
        true.append(np.asarray(codec.modules.log_mel(batch["waveform"])))
    return compare(generated, waves, true)


def flow_figures(decoder: FlowMatchingDecoder, codec, held_out: list[dict]) -> dict[str, float]:
    """A flow-matching decoder."""
    generated, waves, true = [], [], []
    for batch in held_out:
        tokens, conditions = coded(codec, batch)
        generated.append(np.asarray(decoder.latents(tokens, conditions)))
        waves.append(np.asarray(codec.modules.log_mel(decoder.decode(tokens, None, conditions))))
        true.append(np.asarray(codec.modules.log_mel(batch["waveform"])))
    return compare(generated, waves, true)


def coded(codec, batch: dict) -> tuple[np.ndarray, dict]:
    """Tokens of a batch, and the speaker embedding of its references."""
    conditions = {}
    if codec.config.speaker_dim:
        conditions["speaker"] = codec.encode_speaker(batch["voice"], batch["voice_mask"])
    return np.asarray(codec.encode(batch["waveform"])), conditions


def compare(generated: list[np.ndarray], waves: list[np.ndarray], true: list[np.ndarray]) -> dict[str, float]:
    """The figures of log-mels float32[B, M, n_mels] each, nats."""
    made, heard, truth = (np.concatenate(each) for each in (generated, waves, true))

    def detail(mel: np.ndarray) -> float:
        return float(np.std(mel - mel.mean(axis=(0, 1))))

    return {
        "mel_db": float(DB_PER_NAT * np.sqrt(np.mean(np.square(made - truth)))),
        "wave_db": float(DB_PER_NAT * np.sqrt(np.mean(np.square(heard - truth)))),
        "spread": detail(made) / detail(truth),
    }


def show(stream: str, name: str, row: dict[str, float], seconds: float) -> None:
    figures = "  ".join(f"{key} {value:7.3f}" for key, value in row.items())
    print(f"{stream:10s} {name:34s} {figures}  measured in {seconds:5.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
