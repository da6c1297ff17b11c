"""DNSMOS: predicted mean opinion scores of the speech track."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.evaluation.analysis.audible import as_sound, is_silent
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ, Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Requirement, Value
from dualdub_jax.evaluation.listeners.onnx_session import open_session
from dualdub_jax.evaluation.listeners.packaged_file import packaged_file, sha256_of

_KEYS = {
    "dnsmos_ovrl": "ovrl_mos",
    "dnsmos_sig": "sig_mos",
    "dnsmos_bak": "bak_mos",
    "dnsmos_p808": "p808_mos",
}
_MODELS = ("sig_bak_ovr.onnx", "model_v8.onnx")
_WORST = 1.0  # the lowest opinion score


class DNSMOS(ClipMetric):
    """Predicted mean opinion scores of the speech track, 1 to 5: overall, speech, background noise; P.808.

    Applies to clips with a script, or an unknown one. As in the reference implementation, the level is not
    normalised, a track shorter than 9.01 s is repeated, and scores of windows of 9.01 s every second are
    averaged. A silent track scores 1 if the clip has a script, and is excluded if the script is unknown.

    Limits: trained on noisy calls, not on synthesis, and lenient with older synthetic voices. Reverberation
    and noise of the scene lower the score: compare with the true audio. It is not UTMOS, the paper's column.

    Source: Reddy et al. (2021, 2022); the reference implementation in the package `speechmos`.
    """

    name = "dnsmos"
    figures = tuple(
        Figure(
            name,
            "",
            "higher",
            f"DNSMOS of the speech track, 1 to 5: {about}.",
            paired_floor=False,
            smallest_difference=0.1,
        )
        for name, about in (
            ("dnsmos_ovrl", "overall quality (P.835)"),
            ("dnsmos_sig", "quality of the speech signal (P.835)"),
            ("dnsmos_bak", "freedom from background noise (P.835)"),
            ("dnsmos_p808", "quality (P.808)"),
        )
    )
    requirements = (
        Requirement("speechmos", "speechmos"),
        # Imported by speechmos, which does not declare them.
        Requirement("onnxruntime", "onnxruntime"),
        Requirement("librosa", "librosa"),
        Requirement("requests", "requests"),
    )

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[] by figure, 1 to 5."""
        if clip.speech is None or clip.text == "":
            return {}
        speech = as_sound(clip.speech)
        if is_silent(speech):
            return {} if clip.text is None else dict.fromkeys(_KEYS, np.float64(_WORST))
        self.weights_sha256 = sha256_of(*(packaged_file("speechmos", "dnsmos_models", m) for m in _MODELS))
        scores = _model()(np.clip(speech, -1, 1), SAMPLE_RATE_HZ, False)
        return {name: np.float64(scores[key]) for name, key in _KEYS.items()}


@functools.cache
def _model() -> Any:
    """The reference implementation, loaded once a process; called with samples, rate, is personalised."""
    from speechmos import dnsmos

    model = dnsmos.DNSMOS.__new__(dnsmos.DNSMOS)  # its constructor opens sessions with a thread for each core
    model.onnx_sess, model.p808_onnx_sess = (
        open_session(packaged_file("speechmos", "dnsmos_models", name)) for name in _MODELS
    )
    return model
