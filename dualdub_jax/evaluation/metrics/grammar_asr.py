"""How well a recogniser that knows the closed grammar understands the speech track."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.evaluation.analysis.speech_level import active_part
from dualdub_jax.evaluation.analysis.text_normaliser import normalise
from dualdub_jax.evaluation.analysis.word_errors import error_rate, word_errors
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ, Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Requirement, Value, ratio
from dualdub_jax.evaluation.listeners import closed_grammar
from dualdub_jax.evaluation.listeners.packaged_file import packaged_file, sha256_of

_MODEL_FILES = ("mdef", "means", "variances", "sendump", "transition_matrices", "feat.params")
# A spelt letter is a word of its own with one pronunciation, so that "a" is never the article and a letter
# can be told from the other words of a result.
_LETTER = "letter_"
_OWN_PRONUNCIATIONS = {"a": ("EY",), "z": ("Z IY", "Z EH D")}
_ACTIVE_DB, _MARGIN_S = 26.0, 0.2
_PAUSE_S, _HISS_RMS = 0.2, 0.0005  # 46 dB below the speech


class GrammarASR(ClipMetric):
    """Word error rates by a recogniser that can only hear sentences of the closed (GRID) grammar.

    For clips whose text is such a sentence. The speech track is cut to its active part, brought to one
    level and given to PocketSphinx with the grammar as JSGF, its acoustic model of US English and its own
    front end (cepstral mean over the part, noise removal). A faint hiss is added and goes on for 0.2 s on
    either side: the recogniser needs a pause to end a sentence, and knows no digital silence. `wer` counts
    all six words, `wer_no_letters` leaves the letter out of both sides, for single letters are misheard in
    true speech, and `wer_letters` has the letter alone. Errors and words are summed over clips. A track in
    which nothing can be heard has all words wrong, as deletions.

    Limits: the recogniser must choose from the grammar, so any speech gets words and chance is below 100%:
    the floor column of a report shows it, as the ceiling column shows what it mishears in true speech.

    Source: our choice; the recogniser is PocketSphinx (Huggins-Daines et al., 2006).
    """

    name = "grammar_asr"
    figures = tuple(
        Figure(name, "%", "lower", about, summarise=ratio, clip_value=error_rate)
        for name, about in (
            ("wer", "Word errors by a recogniser of the closed grammar (PocketSphinx), all words."),
            ("wer_no_letters", "The same without the spelt letter."),
            ("wer_letters", "The same of the spelt letter alone."),
        )
    )
    requirements = (Requirement("pocketsphinx", "pocketsphinx"),)

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[2] (errors, words)."""
        said = normalise(clip.text or "")
        if clip.speech is None or not closed_grammar.holds(said):
            return {}
        folder = packaged_file("pocketsphinx", "model", "en-us", "en-us")
        self.weights_sha256 = sha256_of(*(folder / name for name in _MODEL_FILES))
        heard = recognise(clip.speech)
        words = said.split()
        letter = _LETTER + words.pop(closed_grammar.LETTER_SLOT)
        return {
            "wer": word_errors(said, " ".join(heard).replace(_LETTER, "")),
            "wer_no_letters": word_errors(
                " ".join(words), " ".join(word for word in heard if not word.startswith(_LETTER))
            ),
            "wer_letters": np.asarray([letter not in heard, 1], np.float64),
        }


def recognise(speech: np.ndarray) -> list[str]:
    """The words heard in float[S], the letter as "letter_b"; none where nothing can be heard."""
    samples = active_part(speech, _ACTIVE_DB, _MARGIN_S)
    if samples is None:
        return []
    decoder = _decoder()
    padded = np.pad(samples, round(_PAUSE_S * SAMPLE_RATE_HZ))
    hiss = _HISS_RMS * np.random.default_rng(0).standard_normal(len(padded))
    pcm = np.round(np.clip(padded + hiss, -1, 1) * 32767).astype("<i2")
    decoder.reinit_feat()  # forgets the cepstral mean of the clip before
    decoder.start_utt()
    decoder.process_raw(pcm.tobytes(), full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return hypothesis.hypstr.split() if hypothesis is not None else []


@functools.cache
def _decoder() -> Any:
    """The recogniser with the grammar, loaded once a process.

    Settings were chosen on true clips of Puppet Stage. No search of a lattice for the best path afterwards:
    it now and then returns half a sentence, and takes seconds on noise. The "language weight" is 1, for the
    package's 6.5 is meant for statistical language models. Beams and fillers are the package's own.
    """
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=SAMPLE_RATE_HZ, lm=None, lw=1.0, bestpath=False, loglevel="FATAL")
    letters = closed_grammar.SLOTS[closed_grammar.LETTER_SLOT]
    for letter in letters:
        # "b." is the dictionary's name of the letter; not all letters have one of their own.
        spoken = decoder.lookup_word(f"{letter}.") or decoder.lookup_word(letter)
        for number, phones in enumerate(_OWN_PRONUNCIATIONS.get(letter, (spoken,)), start=1):
            variant = "" if number == 1 else f"({number})"
            decoder.add_word(f"{_LETTER}{letter}{variant}", phones, True)
    slots = list(closed_grammar.SLOTS)
    slots[closed_grammar.LETTER_SLOT] = tuple(_LETTER + letter for letter in letters)
    sentence = " ".join(f"( {' | '.join(slot)} )" for slot in slots)
    decoder.add_jsgf_string("closed", f"#JSGF V1.0; grammar closed; public <sentence> = {sentence};")
    decoder.activate_search("closed")
    return decoder
