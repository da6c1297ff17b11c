"""Results as `dualdub evaluate --suite puppet --against …` writes them, small but whole: see results.py."""

from typing import Any


def row(value: float | None, spread: float = 0.02, n: int = 3) -> dict[str, Any]:
    """One system's figure."""
    if value is None:
        return {"value": None, "low": None, "high": None, "n": 0}
    return {"value": value, "low": value - spread, "high": value + spread, "n": n}


def figure(
    rows: dict[str, dict[str, Any]], metric: str, better: str, about: str, unit: str = "", **more: Any
) -> dict[str, Any]:
    """One entry of "metrics"."""
    value = {system: rows.get(system, row(None)) for system in ("ours", "true", "codec", "shuffled")}
    return {
        **value["ours"],
        "ceiling": value["true"]["value"],
        "codec_ceiling": value["codec"]["value"],
        "floor": value["shuffled"]["value"],
        "rows": value,
        "groups": {},
        "unit": unit,
        "better": better,
        "about": about,
        "metric": metric,
        "metric_version": "1",
        "weights_sha256": "",
        "packages": {},
        **more,
    }


def example_results(workdir: str = "out/evaluate/puppet") -> dict[str, Any]:
    """Three clips, five figures: a ratio, a correlation, a lag, one that is not installed, one over sets."""
    metrics = {
        "wer": figure(
            {"ours": row(0.12), "true": row(0.06), "codec": row(0.08), "shuffled": row(0.97)},
            "grammar_asr",
            "lower",
            "Word error rate of a grammar-bound recogniser on the speech track.",
            groups={"seen": row(0.10, n=2), "unseen": row(0.16, n=1)},
            packages={"pocketsphinx": "5.1.1"},
        ),
        "onset_f1": figure(
            {"ours": row(0.81), "true": row(0.97), "codec": row(0.95), "shuffled": row(0.11)},
            "impacts",
            "higher",
            "F1 of the background's onsets against the contacts on screen, within 60 ms.",
        ),
        "lip_lag_ms": figure(
            {"ours": row(4.0, 6.0), "true": row(0.0), "codec": row(0.0), "shuffled": row(90.0, 70.0)},
            "lip_sync",
            "neither",
            "Lag at which mouth and speech envelope agree best; positive: sound after picture.",
            unit="ms",
        ),
        "distillmos": figure(
            {}, "distillmos", "higher", "Predicted listening score of the speech track, 1 to 5.",
            missing="not installed: pip install 'dualdub-jax[eval]' (brings distillmos)",
        ),
        "fad": figure(
            {"ours": row(3.1, 0.4), "codec": row(1.2, 0.2)},
            "tagger",
            "lower",
            "Fréchet distance of tagger embeddings of the background tracks to the true ones.",
            weights_sha256="9f" * 32,
        ),
    }  # fmt: skip
    return {
        "schema": 1,
        "suite": "puppet",
        "protocol": {
            "systems": {
                "ours": "DualDub with the checkpoint puppet",
                "true": "the film's own sound",
                "codec": "the film's own sound through the checkpoint's codecs",
                "shuffled": "speech and background of two other films of ours",
            },
            "package": "dualdub-jax 0.1.0",
            "seed": 0,
            "checkpoint": {"path": "dualdub_jax/assets/puppet", "name": "puppet", "sha256": "ab" * 32},
            "sampling": {"speech_temperature": 0.5, "background_temperature": 1.0, "guidance_scale": 4.0},
            "bootstrap": {"level": 0.95, "method": "percentile, clips resampled", "seed": 0},
            "suite": {"world_seed": 1, "split": "test", "limit": 3, "voice_bank": "hibari"},
        },
        "workdir": workdir,
        "num_clips": 4,
        "num_scored": 3,
        "failures": [
            {"id": "test_unseen-000001", "system": "ours", "stage": "generate", "error": "ValueError: long"}
        ],
        "missing_media": [],
        "metrics": metrics,
        "clips": [
            _clip("test_seen-000000", "seen", "lay blue at e nine soon", 0.0, 0.9),
            _clip("test_unseen-000000", "unseen", "the baker <lost> the silver key", 0.5, 0.6),
            _clip("test_seen-000001", "seen", "", None, 1.0),
        ],
        "against": {
            "name": "runs/older/bundle",
            "kind": "checkpoint",
            "protocol": {"checkpoint": {"path": "runs/older/bundle", "name": "older", "sha256": "cd" * 32}},
            "num_clips": 3,
            "metrics": {
                "wer": {"ours": 0.12, "other": 0.2, "difference": -0.08, "low": -0.12, "high": -0.04,
                        "n": 3, "unit": "", "better": "lower",
                        "smallest_difference": 0.01, "verdict": "better"},
                "onset_f1": {"ours": 0.81, "other": 0.8, "difference": 0.01, "low": -0.03, "high": 0.05,
                             "n": 3, "unit": "", "better": "higher",
                             "smallest_difference": 0.005, "verdict": "no clear difference"},
                "distillmos": {"ours": None, "other": None, "difference": None, "low": None, "high": None,
                               "n": 0, "unit": "", "better": "higher",
                             "smallest_difference": 0.005, "verdict": "no clear difference",
                               "missing": "not installed: pip install 'dualdub-jax[eval]'"},
            },
        },
    }  # fmt: skip


def _clip(name: str, group: str, text: str, wer: float | None, onset_f1: float) -> dict[str, Any]:
    scores = {"wer": wer, "onset_f1": onset_f1, "lip_lag_ms": 0.0, "fad": None}
    true = {"wer": wer and 0.0, "onset_f1": 1.0, "lip_lag_ms": 0.0, "fad": None}
    systems = ("ours", "true", "codec")
    return {
        "id": name,
        "group": group,
        "text": text,
        "duration_s": 2.88,
        "figures": {"ours": scores, "true": true, "codec": true, "shuffled": {**scores, "onset_f1": 0.1}},
        "files": {
            "video": f"films/{name}.mp4",
            "voice": f"films/{name}.voice.flac",
            "speech": {system: f"stems/{system}/{name}.speech.flac" for system in systems},
            "background": {system: f"stems/{system}/{name}.background.flac" for system in systems},
            "mix": {},
        },
        "shuffled_from": {"speech": "test_seen-000001", "background": "test_unseen-000000"},
        "notes": {"voice_id": "hibari-03"},
        "fingerprint": "ef" * 16,
        "scores": {"grammar_asr": "01" * 16, "impacts": "23" * 16},
    }
