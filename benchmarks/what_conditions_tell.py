"""Information gain from each condition (script, video, voice, acoustics), in nats per codebook.

    python benchmarks/what_conditions_tell.py                                  # the bundled checkpoint, data/
    python benchmarks/what_conditions_tell.py --checkpoint runs/puppet/bundle --num-clips 64

Teacher-forced cross-entropy of each codebook with all conditions, and its increase when one condition is
masked. No increase means that the model ignores the condition. The last line is the same as JSON.
"""

import argparse
import contextlib
import dataclasses
import itertools
import json
import sys
from collections.abc import Iterator

import jax
import numpy as np
import optax

from dualdub_jax.bundles.bundle import default_bundle_path, load_bundle
from dualdub_jax.codecs.registry import make_codecs
from dualdub_jax.config import Config, SourceConfig, StageConfig
from dualdub_jax.data_pipeline.loader import make_batches
from dualdub_jax.errors import UserError
from dualdub_jax.models.dualdub import make_model
from dualdub_jax.types import STREAMS, Batch

CONDITIONS = ("script", "video", "voice", "acoustics")
_BATCH_SIZE = 16


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkpoint", default=str(default_bundle_path()), help="a bundle's folder")
    parser.add_argument("--data-dir", default="data", help="folder of built datasets")
    parser.add_argument("--source", default="puppet_stage/soundtrack")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--num-clips", type=int, default=64)
    args = parser.parse_args()
    try:
        config, params = load_bundle(args.checkpoint)
        batches = read_batches(config, params, args.data_dir, args.source, args.split, args.num_clips)
        found = measure(config, params["model"], batches)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for stream in STREAMS:
        print(f"{stream}, nats per code, by codebook")
        for name in ("all", *CONDITIONS):
            row = "  ".join(f"{value:6.3f}" for value in found[stream][name])
            print(f"  {'all conditions' if name == 'all' else f'without {name}, +':20s} {row}")
    print(json.dumps(found))
    return 0


def read_batches(
    config: Config, params: dict, data_dir: str, source: str, split: str, num_clips: int
) -> Iterator[Batch]:
    """Reads the first clips of a split as training batches."""
    codecs = make_codecs(config, {stream: params[f"{stream}_codec"] for stream in STREAMS})
    stage = StageConfig(name="clips", mixture=(SourceConfig(source),), batch_size=_BATCH_SIZE)
    config = dataclasses.replace(config, data_dir=data_dir)
    with contextlib.closing(
        make_batches(config, stage, codecs, split=split, seed=0, repeat=False, shuffle=False)
    ) as iterator:
        for fields in itertools.islice(iterator, -(-num_clips // _BATCH_SIZE)):
            yield Batch(**{name: value for name, value in fields.items() if name != "example_ids"})


def measure(config: Config, params: dict, batches: Iterator[Batch]) -> dict[str, dict[str, list[float]]]:
    """Mean cross-entropy with all conditions, and its increase without each: stream -> name -> [Q], nats."""
    model = make_model(config)

    @jax.jit
    def sums(params: dict, batch: Batch) -> dict[str, tuple[jax.Array, jax.Array]]:
        logits = model.apply({"params": params}, batch).logits
        found = {}
        for stream in STREAMS:
            codes = getattr(batch, f"{stream}_tokens")
            mask = batch.frame_mask & getattr(batch, f"has_{stream}")[:, None]
            nats = optax.softmax_cross_entropy_with_integer_labels(logits[stream], codes)
            found[stream] = ((nats * mask[..., None]).sum((0, 1)), mask.sum())
        return found

    totals = {stream: {name: 0.0 for name in ("all", *CONDITIONS)} for stream in STREAMS}
    counts = dict.fromkeys(STREAMS, 0)
    for batch in batches:
        hidden = {f"has_{name}": np.zeros_like(batch.has_video) for name in CONDITIONS}
        for name in ("all", *CONDITIONS):
            without = {} if name == "all" else {f"has_{name}": hidden[f"has_{name}"]}
            for stream, (nats, count) in sums(params, batch.replace(**without)).items():
                totals[stream][name] += np.asarray(nats, np.float64)
                counts[stream] += int(count) * (name == "all")
    found = {}
    for stream, of_stream in totals.items():
        with_all = of_stream.pop("all") / counts[stream]
        without = {name: total / counts[stream] - with_all for name, total in of_stream.items()}
        found[stream] = {name: row.tolist() for name, row in {"all": with_all, **without}.items()}
    return found


if __name__ == "__main__":
    sys.exit(main())
