"""The outcome of an evaluation as one JSON object, which the terminal table and the HTML report show.

    {
      "schema": 1,
      "suite": "puppet",                      "puppet", "dualbench" or "pairs"
      "protocol": {                           all that figures depend on; two runs compare if it is equal
        "systems": {"ours": "…", "true": "…", "codec": "…", "shuffled": "…"},   who is who, in words
        "package": "dualdub-jax 0.1.0", "seed": 0,
        "checkpoint": {"path", "sha256", "name"} or null, "sampling": {…} or null,
        "bootstrap": {"level": 0.95, "method": "percentile, clips resampled", "seed": 0},
        "suite": {…}                          the suite's own: world seed and splits, list and its sha256, …
      },
      "workdir": "/…/out/evaluate/puppet",    what relative paths in "files" are relative to
      "num_clips": 200,                       that were asked for and have their film
      "num_scored": 199,                      of which no step but scoring failed
      "failures": [{"id", "system", "stage", "error"}],        stage: "film", "generate", "codec",
                                                               "score NAME" (NAME of the metric)
      "missing_media": [{"id", "kind", "file"}],               kind: "video", "speech", "background", "voice"
      "metrics": {                            by figure, in the order of the table
        "wer": {
          "value": 0.12, "low": 0.10, "high": 0.14, "n": 175,  of "ours", 95% interval; n counts clips
          "ceiling": 0.06, "codec_ceiling": 0.08, "floor": 0.97,           values of the other systems
          "rows": {SYSTEM: {"value", "low", "high", "n"}},     for every system, "ours" too
          "groups": {GROUP: {"value", "low", "high", "n"}},    "ours" in parts of the suite; may be empty
          "unit": "", "better": "lower", "about": "…",
          "metric": "grammar_asr", "metric_version": "1", "weights_sha256": "…" or "",
          "packages": {"pocketsphinx": "5.1.1"},
          "missing": "not installed: pip install …"            only where there is no figure; says why
        }
      },
      "clips": [                              in the order of the suite
        {
          "id": "test_seen-000007", "group": "seen", "text": "lay blue at e nine soon", "duration_s": 2.88,
          "figures": {SYSTEM: {FIGURE: number or null}},       null: the figure does not apply to the clip
          "files": {"video": path, "voice": path,              what there is of these
                    "speech": {SYSTEM: path}, "background": {SYSTEM: path}, "mix": {SYSTEM: path}},
          "shuffled_from": {"speech": id, "background": id},   whose tracks "shuffled" has here; or null
          "notes": {…},                       the suite's: "contacts_s", when things touch; whose voice speaks
          "fingerprint": "…",                 of film, text, voice and truth: pairs need it equal
          "scores": {METRIC: key}             of "ours" in the workdir's score store, for `--against`
        }
      ],
      "against": null or {
        "name": "runs/other/bundle", "kind": "checkpoint" or "run", "protocol": {…}, "num_clips": 199,
        "metrics": {FIGURE: {"ours", "other", "difference", "low", "high", "n", "unit", "better",
                             "verdict": "better", "worse", "differs" or "no clear difference",
                             "missing": "…"}},                 only where they cannot be compared
      }
    }

Numbers that do not exist (NaN, no clips, too few clips for an interval) are null, never zero. A path in
"files" is relative to "workdir" where it lies inside, otherwise absolute.
"""

import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

from dualdub_jax.errors import UserError

SCHEMA = 1

# The four systems, by what the report calls their columns. "other" is the second checkpoint of `--against`.
OURS, TRUE, CODEC, SHUFFLED, OTHER = "ours", "true", "codec", "shuffled", "other"
SYSTEMS = (OURS, TRUE, CODEC, SHUFFLED)
# A figure's flat keys for the values of the other systems.
ROW_KEYS = {TRUE: "ceiling", CODEC: "codec_ceiling", SHUFFLED: "floor"}


def plain(value: Any) -> Any:
    """A copy that JSON can hold: numpy's numbers and arrays as Python's, NaN and infinity as None."""
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
    """The results as JSON text that any parser reads: no NaN in it."""
    return json.dumps(plain(results), indent=1, allow_nan=False) + "\n"


def read_results(path: pathlib.Path) -> dict[str, Any]:
    """Reads what `to_json` wrote.

    Raises:
        UserError: no such file, or not results, or of another schema.
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
