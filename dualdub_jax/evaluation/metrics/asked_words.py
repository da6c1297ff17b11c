"""Words of the script that the speech track lacks, and words that it has beyond it."""

from collections.abc import Mapping

import numpy as np

from dualdub_jax.evaluation.analysis.word_errors import error_rate
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Value, ratio
from dualdub_jax.evaluation.listeners import asked_words
from dualdub_jax.text.normaliser import normalise


class AskedWordsMetric(ClipMetric):
    """Dropped and added words by a recogniser that does not smooth over a repeat or an omission.

    Applies to every clip with a script, in words that the recogniser's dictionary has; an inaudible track
    drops all of them. Other recognisers do not see these errors: that of `grammar_asr` has exactly the six
    words of its grammar, and a language model prefers text without repeats. Added words are repeats, and
    speech that is none of the asked words, one for each stretch of it. Words are summed over clips.

    *Measured* by `benchmarks/asked_words.py --num-clips 50` on 100 sentences of the puppets' voices,
    without room: 93 repeated words and 90 of those cut out are found, and 8 whole sentences have an error.
    Whisper tiny.en: 54, 86 and 33. On ten real recordings (LibriVox, cards; 92 words): all repeats and
    omissions, 6 false words. Rooms with strong reverberation and noise raise the errors of true speech to a
    tenth of the words.

    Limits: see `listeners/asked_words.py`; which of two similar words is spoken is the question of
    `grammar_asr` and `open_asr`.

    Source: our choice.
    """

    name = "asked_words"
    figures = tuple(
        Figure(name, "%", "lower", about, summarise=ratio, clip_value=error_rate)
        for name, about in (
            ("words_dropped", "Words of the script that are not spoken, by alignment with phones."),
            ("words_added", "Repeated words, and speech that is not in the script, per word of the script."),
        )
    )
    requirements = asked_words.REQUIREMENTS

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[2] (words dropped or added, words) by figure."""
        if clip.speech is None or not (clip.text or "").strip():
            return {}
        self.weights_sha256 = asked_words.weights_sha256()
        words, _ = normalise(clip.text)
        found = asked_words.recognise(clip.speech, " ".join(word.text for word in words))
        if not found.asked:
            return {}
        return {
            "words_dropped": np.array([len(found.dropped), len(found.asked)], np.float64),
            "words_added": np.array([len(found.added), len(found.asked)], np.float64),
        }
