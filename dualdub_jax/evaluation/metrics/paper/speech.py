"""SIM and UTMOS of the speech track: columns of the paper's Tables 3 and 4."""

import pathlib
from collections.abc import Mapping

import numpy as np

from dualdub_jax.evaluation.analysis.track_memo import once_per_track
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Value
from dualdub_jax.evaluation.listeners import speech_models
from dualdub_jax.evaluation.listeners.public_weights import Weights


class Similarity(ClipMetric):
    """Speaker similarity of speech and true speech: the cosine of WavLM's x-vectors.

    The reference is the true speech of the same clip, so the truth scores 1, as in the paper. Applies to
    clips with a script, or whose script is unknown. A silent track is embedded like any other.

    Limits: the embedding also depends on room, noise and words. The paper names no checkpoint; its figures
    resemble those of wavlm-base-plus-sv, which this is.

    Source: the paper; Chen et al. (2022), "WavLM".

    Args:
        weights: the folder of `--weights`; None: not given.
    """

    name = "paper_similarity"
    uses_jax = True
    figures = (
        Figure(
            "sim",
            "",
            "higher",
            "Cosine of WavLM base+ x-vectors of the speech and of the true speech.",
            limits=(-1.0, 1.0),
        ),
    )

    def __init__(self, weights: pathlib.Path | None = None) -> None:
        self._weights = Weights("wavlm_sv", weights)
        self.requirements = (self._weights,)

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[1]."""
        if clip.speech is None or clip.true_speech is None or clip.text == "":
            return {}
        self.weights_sha256 = self._weights.version()
        one, other = (_x_vector(track, self._weights.path) for track in (clip.speech, clip.true_speech))
        return {"sim": np.array([one @ other / (np.linalg.norm(one) * np.linalg.norm(other))])}


@once_per_track()
def _x_vector(track: np.ndarray, folder: pathlib.Path) -> np.ndarray:
    return speech_models.load(folder, "wavlm_sv")(track).astype(np.float64)


class Naturalness(ClipMetric):
    """UTMOS: a predicted mean opinion score of the speech track, 1 to 5.

    Applies to clips with a script, or whose script is unknown. A silent track is scored like any other.

    Limits: trained on synthetic speech without background; separated film speech scores low (the paper's
    truth: 2.02).

    Source: the paper; Saeki et al. (2022), by the public weights of SpeechMOS.

    Args:
        weights: the folder of `--weights`; None: not given.
    """

    name = "paper_naturalness"
    uses_jax = True
    figures = (
        Figure(
            "utmos",
            "",
            "higher",
            "Predicted mean opinion score of the speech (UTMOS strong).",
            smallest_difference=0.1,
        ),
    )

    def __init__(self, weights: pathlib.Path | None = None) -> None:
        self._weights = Weights("utmos", weights)
        self.requirements = (self._weights,)

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[1]."""
        if clip.speech is None or clip.text == "":
            return {}
        self.weights_sha256 = self._weights.version()
        score = speech_models.load(self._weights.path, "utmos")(clip.speech)
        return {"utmos": np.array([float(score)])}
