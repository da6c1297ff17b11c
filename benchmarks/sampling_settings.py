"""Selects sampling temperatures and guidance for a checkpoint on the validation split, not on test clips.

    pip install 'dualdub-jax[eval]'
    python benchmarks/sampling_settings.py                  # the bundled checkpoint, 12 settings
    python benchmarks/sampling_settings.py --checkpoint runs/puppet/bundle --limit 100
    python benchmarks/sampling_settings.py --settings 0.5/0.7/2/0,0.3/0.7/3/1

Every setting dubs the same clips of Puppet Stage with the same seeds; metrics are those of `dualdub
evaluate`, with 95% bootstrap intervals over clips in brackets. The intervals of many settings overlap: choose
one from the middle of the good range, not the best point estimate. The last line is the table as JSON.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import zlib
from collections.abc import Sequence

import dualdub_jax
from dualdub_jax.bundles.bundle import default_bundle_path
from dualdub_jax.config import SamplingConfig
from dualdub_jax.dubbing.dub import DualDub
from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts import registry
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import Metric
from dualdub_jax.evaluation.report import number_text
from dualdub_jax.evaluation.run.scoring import missing_requirement
from dualdub_jax.evaluation.run.systems import Tracks, with_tracks
from dualdub_jax.evaluation.statistics import bootstrap
from dualdub_jax.evaluation.suites.puppet import PuppetSuite
from dualdub_jax.evaluation.suites.suite import Footage

_METRICS = ("grammar_asr", "open_asr", "impacts", "lip_sync")
_FIGURES = ("wer_no_letters", "wer", "wer_open", "onset_f1", "impact_class_accuracy", "lip_correlation")
_SETTINGS = (
    *("0.5/0.7/1/0", "0.5/0.7/1.5/0", "0.5/0.7/2/0", "0.5/0.7/3/0"),
    *("0.5/0.7/1.5/1", "0.5/0.7/2/1", "0.5/0.7/3/1", "0.5/0.7/2/2"),
    *("0.3/0.7/1.5/1", "0.7/0.7/1.5/1", "0.5/0.4/1.5/1", "0.5/1/1.5/1"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkpoint", default=str(default_bundle_path()), help="a bundle's folder")
    parser.add_argument(
        "--settings", default=",".join(_SETTINGS), help="speech/background/guidance/codebooks, …"
    )
    parser.add_argument("--limit", type=int, default=60, help="clips (default: 60)")
    parser.add_argument("--split", default="validation", help="default: validation")
    parser.add_argument("--workdir", type=pathlib.Path, default="out/sampling", help="cache of films")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling (default: 0)")
    args = parser.parse_args()
    try:
        return run(args)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def run(args: argparse.Namespace) -> int:
    """Dubs, scores and prints every setting; returns the exit status."""
    settings = {text: parse_setting(text) for text in args.settings.split(",")}
    metrics = registry.select(registry.all_metrics(None), _METRICS)
    for metric in metrics:
        if absent := missing_requirement(metric):
            raise UserError(f"{metric.name}: {absent}")
    suite = PuppetSuite(args.workdir, limit=args.limit, split=args.split)
    footages = [suite.load(clip_id) for clip_id in suite.ids]
    model = dualdub_jax.load(args.checkpoint)
    print(f"{len(footages)} clips of split {args.split}; speech/background/guidance/codebooks\n")
    print(f"| setting | {' | '.join(_FIGURES)} |")
    print("|---" * (len(_FIGURES) + 1) + "|")
    table = {}
    for text, setting in settings.items():
        sampling = dataclasses.replace(model.engine.config.sampling, **setting)
        table[text] = measure([dub(model, each, sampling, args.seed) for each in footages], metrics)
        print(f"| {text} | {' | '.join(table[text][name]['text'] for name in _FIGURES)} |", flush=True)
    print(json.dumps(table))
    return 0


def parse_setting(text: str) -> dict[str, float]:
    """Parses "0.5/0.7/2/0" as fields of `SamplingConfig`.

    Raises:
        UserError: not four numbers, the last one an integer.
    """
    names = ("speech_temperature", "background_temperature", "guidance_scale", "guidance_codebooks")
    try:
        *numbers, codebooks = text.split("/")
        numbers = [*map(float, numbers), int(codebooks)]
    except ValueError:
        numbers = []
    if len(numbers) != len(names):
        raise UserError(
            f"--settings {text}: expected speech/background/guidance/codebooks, such as 0.5/0.7/2/0"
        )
    return dict(zip(names, numbers, strict=True))


def dub(model: DualDub, footage: Footage, sampling: SamplingConfig, seed: int) -> Clip:
    """The clip with the model's soundtrack."""
    clip = footage.clip
    seed = zlib.crc32(f"{seed} {clip.id}".encode()) % 2**31
    made = model.dub(footage.video, clip.text or "", footage.voice, seed=seed, sampling=sampling)
    return with_tracks(clip, Tracks(made.speech, made.background))


def measure(clips: Sequence[Clip], metrics: Sequence[Metric]) -> dict[str, dict[str, float | str]]:
    """Figures over the clips, with intervals and as text."""
    found = {}
    for metric in metrics:
        values = metric.score(clips)
        for figure in metric.figures:
            if figure.name in _FIGURES:
                each = bootstrap.estimate([v for v in values[figure.name] if v is not None], figure)
                low, value, high = (
                    number_text.number(number_text.in_unit(x, figure.unit))
                    for x in (each.low, each.value, each.high)
                )
                found[figure.name] = dataclasses.asdict(each) | {"text": f"{value} [{low}, {high}]"}
    return found


if __name__ == "__main__":
    sys.exit(main())
