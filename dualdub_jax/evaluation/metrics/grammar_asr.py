"""Word error rate of the speech track by a recogniser constrained to the closed grammar."""

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
# Letters are separate words with their own pronunciation: "a" is never the article, and the letter of a
# hypothesis is identifiable.
_LETTER = "letter_"
_OWN_PRONUNCIATIONS = {"a": ("EY",), "z": ("Z IY", "Z EH D")}
_ACTIVE_DB, _MARGIN_S = 26.0, 0.2
_PAUSE_S, _HISS_RMS = 0.2, 0.0005  # 46 dB below the speech


class GrammarASR(ClipMetric):
    """Word error rates by a recogniser constrained to sentences of the closed (GRID) grammar.

    Applies to clips whose script is such a sentence. The speech track is trimmed to its active part, level
    normalised and decoded by PocketSphinx with the grammar as JSGF, its US English acoustic model and its own
    front end (cepstral mean normalisation over the part, noise removal). Weak noise is added, extended by
    0.2 s on either side, because the recogniser requires a pause at the end of a sentence and was not trained
    on digital silence. `wer` counts all six words; `wer_no_letters` excludes the letter from reference and
    hypothesis, since letters are confused even in true speech; `wer_letters` covers the letter alone. Errors
    and words are summed over clips. An inaudible track scores all words as deletions.

    Limits: the recogniser always outputs the six words of the grammar. It cannot see a repeated or a
    dropped one (`asked_words` does), and chance is below 100%, as the floor of a report shows; the ceiling
    shows its errors on true speech.

    Source: our choice; the recogniser is PocketSphinx (Huggins-Daines et al., 2006).
    """

    name = "grammar_asr"
    figures = tuple(
        Figure(name, "%", "lower", about, summarise=ratio, clip_value=error_rate)
        for name, about in (
            ("wer", "Word error rate, closed-grammar recogniser (PocketSphinx), all words."),
            ("wer_no_letters", "The same without the spelt letter."),
            ("wer_letters", "The same for the spelt letter alone."),
        )
    )
    requirements = (Requirement("pocketsphinx", "pocketsphinx"),)

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[2] (errors, words) by figure."""
        reference = normalise(clip.text or "")
        if clip.speech is None or not closed_grammar.holds(reference):
            return {}
        folder = packaged_file("pocketsphinx", "model", "en-us", "en-us")
        self.weights_sha256 = sha256_of(*(folder / name for name in _MODEL_FILES))
        hypothesis = recognise(clip.speech)
        words = reference.split()
        letter = _LETTER + words.pop(closed_grammar.LETTER_SLOT)
        return {
            "wer": word_errors(reference, " ".join(hypothesis).replace(_LETTER, "")),
            "wer_no_letters": word_errors(
                " ".join(words), " ".join(word for word in hypothesis if not word.startswith(_LETTER))
            ),
            "wer_letters": np.asarray([letter not in hypothesis, 1], np.float64),
        }


def recognise(speech: np.ndarray) -> list[str]:
    """Recognises a sentence of the closed grammar.

    Args:
        speech: float[S] at 16 kHz.

    Returns:
        The words of the hypothesis, the letter as "letter_b"; empty if the track is inaudible.
    """
    samples = active_part(speech, _ACTIVE_DB, _MARGIN_S)
    if samples is None:
        return []
    decoder = _decoder()
    padded = np.pad(samples, round(_PAUSE_S * SAMPLE_RATE_HZ))
    hiss = _HISS_RMS * np.random.default_rng(0).standard_normal(len(padded))
    pcm = np.round(np.clip(padded + hiss, -1, 1) * 32767).astype("<i2")
    decoder.reinit_feat()  # resets the cepstral mean of the previous clip
    decoder.start_utt()
    decoder.process_raw(pcm.tobytes(), full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return hypothesis.hypstr.split() if hypothesis is not None else []


@functools.cache
def _decoder() -> Any:
    """The recogniser with the grammar, loaded once a process.

    Settings were chosen on true clips of Puppet Stage. The best-path search over the lattice is off: it
    occasionally returns half a sentence, and takes seconds on noise. The language weight is 1, since the
    package's default of 6.5 is for statistical language models. Beams and fillers are the defaults.
    """
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=SAMPLE_RATE_HZ, lm=None, lw=1.0, bestpath=False, loglevel="FATAL")
    letters = closed_grammar.SLOTS[closed_grammar.LETTER_SLOT]
    for letter in letters:
        # The dictionary lists most letters as "b."; the others only as plain words.
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
