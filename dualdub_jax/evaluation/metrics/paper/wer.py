"""WER of the speech track by Whisper: a column of the paper's Tables 3 and 4."""

import pathlib
from collections.abc import Mapping

from dualdub_jax.evaluation.analysis.whisper_normaliser import REQUIREMENT, whisper_normalise
from dualdub_jax.evaluation.analysis.word_errors import error_rate, word_errors
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Value, ratio
from dualdub_jax.evaluation.listeners import whisper
from dualdub_jax.evaluation.metrics.open_asr import transcript

FOLDER = "whisper"  # under `--weights`


class PaperWer(ClipMetric):
    """Word error rate by Whisper, summed over clips.

    The model is the CTranslate2 folder `whisper` under `--weights`, such as one of Whisper-large-v3, the
    paper's; without it tiny.en, and the figure says which. Script and transcript are normalised by Whisper's
    English normaliser (unstated in the paper). A window that Whisper classifies as no speech has no words.

    Limits: film speech separated from its background is hard: the paper's truth has 35.62%. Read it beside
    the truth's.

    Source: the paper; Radford et al. (2022).

    Args:
        weights: the folder of `--weights`; None: not given.
    """

    name = "paper_wer"
    requirements = (*whisper.REQUIREMENTS, REQUIREMENT)

    def __init__(self, weights: pathlib.Path | None = None) -> None:
        folder = None if weights is None else weights / FOLDER
        self._folder = folder if folder is not None and (folder / "model.bin").is_file() else None
        if self._folder is None:
            model = "Whisper tiny.en: bring Whisper-large-v3 as CTranslate2 in DIR/whisper, --weights DIR"
        else:
            model = f"Whisper of {self._folder}"
        about = f"Word error rate of the speech; {model}."
        self.figures = (Figure("wer_whisper", "%", "lower", about, summarise=ratio, clip_value=error_rate),)

    def settings(self) -> str:
        """Digest of the user's model."""
        return "" if self._folder is None else whisper.weights_sha256(self._folder)

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[2]: word errors and words."""
        reference = whisper_normalise(clip.text or "")
        if not reference or clip.speech is None:
            return {}
        self.weights_sha256 = whisper.weights_sha256(self._folder)
        return {
            "wer_whisper": word_errors(reference, whisper_normalise(transcript(clip.speech, self._folder)))
        }
