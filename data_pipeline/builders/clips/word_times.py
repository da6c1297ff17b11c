"""Times of English words by forced alignment: the package pocketsphinx, which has its model inside."""

import functools
import importlib.util
from typing import Any

import numpy as np
import soxr

from dualdub_jax.data_pipeline.builders.clips.sound import Sound
from dualdub_jax.data_pipeline.builders.clips.source_clip import Word
from dualdub_jax.errors import UserError

MAX_ALIGNED_S = 120
_SAMPLE_RATE_HZ, _FRAME_S = 16_000, 0.01


def check_aligner() -> None:
    """Fails before any work without the package.

    Raises:
        UserError: it is not installed.
    """
    if importlib.util.find_spec("pocketsphinx") is None:
        raise UserError("--align-words: needs the package pocketsphinx; pip install 'dualdub-jax[align]'")


def align(sound: Sound | None, script: str) -> tuple[Word, ...]:
    """Aligns a script with its recording.

    Args:
        sound: the recording.
        script: lower-case words, separated by spaces.

    Returns:
        All words with their times in seconds; empty if the script does not fit the recording, or has words
        that the aligner's dictionary lacks.
    """
    if sound is None or not script:
        return ()
    aligner, words = _aligner(), script.split()
    if any(aligner.lookup_word(word) is None for word in words):
        return ()
    samples = soxr.resample(sound.samples, sound.sample_rate_hz, _SAMPLE_RATE_HZ)
    pcm = np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
    try:
        aligner.set_align_text(script)
        aligner.start_utt()
        aligner.process_raw(pcm.tobytes(), full_utt=True)
        aligner.end_utt()
        segments = [
            (
                segment.word.partition("(")[0],
                segment.start_frame * _FRAME_S,
                (segment.end_frame + 1) * _FRAME_S,
            )
            for segment in aligner.seg() or ()
            if not segment.word.startswith(("<", "[", "(NULL)"))
        ]
    except RuntimeError:  # the package's only error, also for a script that does not fit
        return ()
    found = tuple((text, round(a, 2), round(b, 2)) for text, a, b in segments)
    return found if [text for text, _, _ in found] == words else ()


@functools.cache  # loads its model
def _aligner() -> Any:
    import pocketsphinx

    return pocketsphinx.Decoder(samprate=_SAMPLE_RATE_HZ, loglevel="FATAL")
