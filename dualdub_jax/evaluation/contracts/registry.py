"""All metrics by import path, in the order of the report. To add one: a module and a line here."""

import difflib
import importlib
import pathlib
from collections.abc import Sequence

from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.metric import Metric

_PACKAGE = "dualdub_jax.evaluation.metrics."
METRICS: tuple[str, ...] = (
    # Speech: content, speaker, quality, prosody.
    "grammar_asr.GrammarASR",
    "asked_words.AskedWordsMetric",
    "open_asr.OpenASR",
    "speaker.Speaker",
    "dnsmos.DNSMOS",
    "distillmos.DistillMOS",
    "mel_cepstral.MelCepstral",
    "prosody.Prosody",
    # Synchronization with the video.
    "lip_sync.LipSync",
    "face_sync.FaceSync",
    "impacts.Impacts",
    "stem_onsets.StemOnsets",
    "audio_video.AudioVideo",
    # Harmony of speech and background.
    "casp.CaspMetric",
    "acoustics.RoomAcoustics",
    "loudness.Loudness",
    "plausible_levels.PlausibleLevels",
    # The background.
    "tagger.Tagger",
    "ghost_speech.GhostSpeech",
    # Duration and speed.
    "duration.Duration",
    "realtime.RealTime",
)


def all_metrics(casp_weights: pathlib.Path | None = None) -> list[Metric]:
    """Instantiates every metric; cheap, since models are loaded by the first `score`.

    Args:
        casp_weights: folder of converted CASP weights; None: the small CASP bundled with the package.

    Raises:
        UserError: `casp_weights` is not such a folder.
    """
    given = {"casp.CaspMetric": {"weights": casp_weights}}
    return [_load(path, **given.get(path, {})) for path in METRICS]


PAPER_METRICS: tuple[str, ...] = (
    "paper.background.PaperBackground",
    "paper.fad.PaperFad",
    "paper.av_align.AVAlign",
    "paper.speech.Similarity",
    "paper.wer.PaperWer",
    "paper.speech.Naturalness",
    "paper.dualscore.DualScore",
)


def paper_metrics(
    weights: pathlib.Path | None = None, casp_weights: pathlib.Path | None = None
) -> list[Metric]:
    """Instantiates the columns of the paper's tables: `--protocol paper`.

    Args:
        weights: folder with one folder of converted weights a model.
        casp_weights: of CASP; None: `weights`/casp.
    """
    if casp_weights is None and weights is not None:
        casp_weights = weights / "casp"
    given = {path: {"weights": weights} for path in PAPER_METRICS}
    given["paper.av_align.AVAlign"] = {}
    given["paper.dualscore.DualScore"] = {"weights": casp_weights}
    return [_load(path, **given[path]) for path in PAPER_METRICS]


def _load(path: str, **arguments: object) -> Metric:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(_PACKAGE + module), name)(**arguments)


def select(
    metrics: Sequence[Metric], names: Sequence[str] | None, skipped: Sequence[str] = ()
) -> list[Metric]:
    """Selects metrics by name, in the order of `metrics`.

    Args:
        metrics: to choose from.
        names: of metrics or of figures; a figure selects its whole metric, since a metric computes all its
            figures together. None: all.
        skipped: likewise, metrics that are left out.

    Raises:
        UserError: an unknown name, the message lists the closest known ones; or nothing is left.
    """
    kept = list(metrics) if names is None else _named(metrics, "--metrics", names)
    left_out = _named(metrics, "--skip", skipped)
    chosen = [metric for metric in kept if metric not in left_out]
    if not chosen:
        raise UserError("--skip: leaves no metric; name fewer of them")
    return chosen


def _named(metrics: Sequence[Metric], option: str, names: Sequence[str]) -> list[Metric]:
    known = {metric.name for metric in metrics} | {f.name for metric in metrics for f in metric.figures}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else "see dualdub evaluate --list-metrics"
            raise UserError(f"{option} {name}: no metric or figure has this name; {hint}")
    wanted = set(names)
    return [m for m in metrics if wanted & {m.name, *(figure.name for figure in m.figures)}]
