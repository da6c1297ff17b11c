"""The results of an evaluation as one JSON object, the source of the terminal table and the HTML report.

    {
      "schema": 1,
      "suite": "puppet",                      "puppet", "dualbench" or "pairs"
      "protocol": {                           all that figures depend on; runs are comparable if it is equal
        "systems": {"ours": "…", "true": "…", "codec": "…", "shuffled": "…"},   a description of each
        "package": "dualdub-jax 0.1.0", "seed": 0,
        "checkpoint": {"path", "sha256", "name"} or null, "sampling": {…} or null,
        "bootstrap": {"level": 0.95, "method": "percentile bootstrap over clips, …", "seed": 0},
        "suite": {…}                          suite-specific: world seed and splits, list and its sha256, …
      },
      "workdir": "/…/out/evaluate/puppet",    base of relative paths in "files"
      "num_clips": 200,                       selected clips whose film is present
      "num_scored": 199,                      clips that have a soundtrack
      "failures": [{"id", "system", "stage", "error"}],        stage: "film", "generate", "codec",
                                                               "score NAME" (NAME of the metric)
      "missing_media": [{"id", "kind", "file"}],               kind: "video", "speech", "background", "voice"
      "metrics": {                            by figure, in the order of the table
        "wer": {
          "value": 0.12, "low": 0.10, "high": 0.14, "n": 175,  of "ours", with 95% interval; n: clips
          "ceiling": 0.06, "codec_ceiling": 0.08, "floor": 0.97,           point estimates, other systems
          "rows": {SYSTEM: {"value", "low", "high", "n"}},     every system, "ours" included
          "groups": {GROUP: {"value", "low", "high", "n"}},    "ours" by subset of the suite; may be empty
          "unit": "", "better": "lower", "about": "…",
          "metric": "grammar_asr", "metric_version": "1", "weights_sha256": "…" or "",
          "packages": {"pocketsphinx": "5.1.1"},
          "missing": "not installed: pip install …"            the reason, where there is no figure
          "note": "…"                                          what to heed, such as too few clips; optional
        }
      },
      "clips": [                              in the order of the suite
        {
          "id": "test_seen-000007", "group": "seen", "text": "lay blue at e nine soon", "duration_s": 2.88,
          "figures": {SYSTEM: {FIGURE: number or null}},       null: the figure does not apply to the clip
          "files": {"video": path, "voice": path,              those that exist
                    "speech": {SYSTEM: path}, "background": {SYSTEM: path}, "mix": {SYSTEM: path}},
          "shuffled_from": {"speech": id, "background": id},   source clips of "shuffled"; or null
          "notes": {…},                       suite-specific: "contacts_s", contact times; the reference used
          "fingerprint": "…",                 of film, text, voice and truth; equal for paired clips
          "scores": {METRIC: key}             of "ours" in the workdir's score store, for `--against`
        }
      ],
      "against": null or {
        "name": "runs/other/bundle", "kind": "checkpoint" or "run", "protocol": {…}, "num_clips": 199,
        "metrics": {FIGURE: {"ours", "other", "difference", "low", "high", "n", "unit", "better",
                             "smallest_difference": 0.01,      of interest, our choice
                             "verdict": "better", "worse", "differs", "no clear difference" or
                                        "too small to matter",
                             "missing": "…"}},                 the reason, if not comparable
      }
    }

Undefined numbers (NaN, no clips, too few clips for an interval) are null, never zero. A path in "files" is
relative to "workdir" if the file lies inside it, otherwise absolute.
"""

import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

from dualdub_jax.errors import UserError

SCHEMA = 1

# The four systems. "other" is the second checkpoint of `--against`.
OURS, TRUE, CODEC, SHUFFLED, OTHER = "ours", "true", "codec", "shuffled", "other"
SYSTEMS = (OURS, TRUE, CODEC, SHUFFLED)
# Top-level keys of a figure for the point estimates of the other systems.
ROW_KEYS = {TRUE: "ceiling", CODEC: "codec_ceiling", SHUFFLED: "floor"}


def plain(value: Any) -> Any:
    """A JSON-serialisable copy: numpy scalars and arrays as Python's, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, pathlib.PurePath):
        return str(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def to_json(results: Mapping[str, Any]) -> str:
    """The results as strict JSON text, without NaN."""
    return json.dumps(plain(results), indent=1, allow_nan=False) + "\n"


def read_results(path: pathlib.Path) -> dict[str, Any]:
    """Reads results that `to_json` wrote.

    Raises:
        UserError: the file is missing, holds no results, or has another schema.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        schema = results["schema"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{path}: not the JSON of `dualdub evaluate`; give a file that --json wrote"
        ) from None
    if schema != SCHEMA:
        raise UserError(
            f"{path}: results of schema {schema}, but this version reads {SCHEMA}; evaluate again"
        )
    return results
