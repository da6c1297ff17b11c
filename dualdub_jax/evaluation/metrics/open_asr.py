"""How well an open-vocabulary recogniser, as a listener without hints, understands the speech track."""

from collections.abc import Mapping

import numpy as np

from dualdub_jax.evaluation.analysis.speech_level import at_speech_level
from dualdub_jax.evaluation.analysis.text_normaliser import normalise
from dualdub_jax.evaluation.analysis.word_errors import character_errors, error_rate, word_errors
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Value, ratio
from dualdub_jax.evaluation.listeners import closed_grammar, whisper

# Whisper's own rule for "nobody speaks": both at once.
_NO_SPEECH_PROBABILITY, _LOW_LOG_PROBABILITY = 0.6, -1.0


class OpenASR(ClipMetric):
    """Word and character error rates by Whisper tiny.en (beam 5, temperature 0) on the speech track.

    For every clip with a text. The track is brought to one level; one in which nothing can be heard, or
    that Whisper itself takes for no speech, has all words wrong, as deletions. Both texts go through
    `text_normaliser`. Errors and words are summed over clips, so that rates above 1 are possible.
    `wer_open_grid` has the clips whose text is of the closed grammar, `wer_open_free` the others.

    Limits: a small recogniser made for English prose. It knows no closed grammar, so it hears "bin blue" as
    "Ben Blue" in true recordings too: compare with the ceiling. Homophones count as errors.

    Source: our choice; open-ASR WER is the field's, the recogniser Radford et al. (2022).
    """

    name = "open_asr"
    figures = tuple(
        Figure(name, "%", "lower", about, summarise=ratio, clip_value=error_rate)
        for name, about in (
            ("wer_open", "Word errors by an open recogniser (Whisper tiny.en), all texts."),
            ("cer_open", "Character errors by the same recogniser, all texts."),
            ("wer_open_grid", "Word errors by the same recogniser, texts of the closed grammar."),
            ("wer_open_free", "Word errors by the same recogniser, all other texts."),
        )
    )
    requirements = whisper.REQUIREMENTS

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[2] (errors, words or characters)."""
        said = normalise(clip.text or "")
        if not said or clip.speech is None:
            return {}
        self.weights_sha256 = whisper.weights_sha256()
        heard = normalise(heard_words(clip.speech))
        words = word_errors(said, heard)
        kind = "wer_open_grid" if closed_grammar.holds(said) else "wer_open_free"
        return {"wer_open": words, "cer_open": character_errors(said, heard), kind: words}


def heard_words(speech: np.ndarray) -> str:
    """What Whisper hears in float[S]; "" if it hears nobody."""
    samples = at_speech_level(speech)
    if samples is None:
        return ""
    return " ".join(
        passage.text
        for passage in whisper.transcribe(samples)
        if passage.no_speech_probability <= _NO_SPEECH_PROBABILITY
        or passage.mean_log_probability > _LOW_LOG_PROBABILITY
    )
