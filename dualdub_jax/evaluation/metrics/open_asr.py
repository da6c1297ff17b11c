"""Word and character error rates of the speech track by an open-vocabulary recogniser."""

import pathlib
from collections.abc import Mapping

import numpy as np

from dualdub_jax.evaluation.analysis.speech_level import at_speech_level
from dualdub_jax.evaluation.analysis.text_normaliser import normalise
from dualdub_jax.evaluation.analysis.whisper_normaliser import REQUIREMENT, whisper_normalise
from dualdub_jax.evaluation.analysis.word_errors import character_errors, error_rate, word_errors
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Value, ratio
from dualdub_jax.evaluation.listeners import closed_grammar, whisper

# Whisper's own rule for a window without speech: both thresholds are exceeded.
_NO_SPEECH_PROBABILITY, _LOW_LOG_PROBABILITY = 0.6, -1.0


class OpenASR(ClipMetric):
    """Word and character error rates by Whisper tiny.en (beam 5, temperature 0) on the speech track.

    Applies to every clip with a script. The track's level is normalised; an inaudible track, or one that
    Whisper classifies as no speech, scores all words as deletions. Script and transcript are normalised by
    Whisper's English normaliser. Errors and words are summed over clips; rates above 100% are possible.
    `wer_open_grid` covers scripts of the closed grammar, `wer_open_free` all others.

    Limits: a small recogniser trained on English prose. Without the closed grammar it transcribes "bin blue"
    as "Ben Blue" in true recordings too: compare with the ceiling. Homophones count as errors. The paper's
    column uses Whisper-large-v3 and is not comparable.

    Source: our choice; the recogniser is that of Radford et al. (2022).
    """

    name = "open_asr"
    version = "2"
    figures = tuple(
        Figure(name, "%", "lower", about, summarise=ratio, clip_value=error_rate)
        for name, about in (
            ("wer_open", "Word error rate, open-vocabulary recogniser (Whisper tiny.en), all scripts."),
            ("cer_open", "Character error rate, same recogniser, all scripts."),
            ("wer_open_grid", "Word error rate, same recogniser, scripts of the closed grammar."),
            ("wer_open_free", "Word error rate, same recogniser, all other scripts."),
        )
    )
    requirements = (*whisper.REQUIREMENTS, REQUIREMENT)

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[2] (errors, words or characters) by figure."""
        reference = whisper_normalise(clip.text or "")
        if not reference or clip.speech is None:
            return {}
        self.weights_sha256 = whisper.weights_sha256()
        hypothesis = whisper_normalise(transcript(clip.speech))
        words = word_errors(reference, hypothesis)
        is_grid = closed_grammar.holds(normalise(clip.text or ""))
        kind = "wer_open_grid" if is_grid else "wer_open_free"
        return {"wer_open": words, "cer_open": character_errors(reference, hypothesis), kind: words}


def transcript(speech: np.ndarray, folder: pathlib.Path | None = None) -> str:
    """Whisper's transcript of float[S] at 16 kHz; "" if inaudible or classified as no speech.

    Args:
        speech: the track.
        folder: see `whisper.transcribe`.
    """
    samples = at_speech_level(speech)
    if samples is None:
        return ""
    return " ".join(
        passage.text
        for passage in whisper.transcribe(samples, folder)
        if passage.no_speech_probability <= _NO_SPEECH_PROBABILITY
        or passage.mean_log_probability > _LOW_LOG_PROBABILITY
    )
