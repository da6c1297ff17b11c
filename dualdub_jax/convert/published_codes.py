"""Codes that a published checkpoint is known to give, compared after its conversion.

Source: the tests of `WavTokenizerModel` in transformers: 0.5 s of a 440 Hz sine of amplitude 0.5 at 24 kHz
through WavTokenizer-large-unify-40token gives 20 codes, of which these are the first.
"""

from typing import Any

import numpy as np

from dualdub_jax.codecs.wavtokenizer.codec import WavTokenizerCodec
from dualdub_jax.codecs.wavtokenizer.config import WavTokenizerConfig

PyTree = Any  # a codec's variables: nested dictionaries of arrays

_TONE_CODES = (1323, 1442, 3524, 2056, 3229, 1723, 2785, 1389, 3144, 1723)
_TONE_HZ, _TONE_S, _AMPLITUDE = 440, 0.5, 0.5


def check_tone(
    config: WavTokenizerConfig, variables: PyTree, published: WavTokenizerConfig | None = None
) -> str:
    """Compares the codes of the tone.

    Args:
        config: of the converted checkpoint.
        variables: of the codec.
        published: sizes of the checkpoint that gives the codes; None: the defaults.

    Returns:
        One line with the result; "" for a checkpoint of other sizes.
    """
    if config != (published or WavTokenizerConfig()):
        return ""
    t = np.arange(int(_TONE_S * config.sample_rate_hz)) / config.sample_rate_hz
    tone = (_AMPLITUDE * np.sin(2 * np.pi * _TONE_HZ * t)).astype(np.float32)
    codes = np.asarray(WavTokenizerCodec(config, variables).encode(tone[None]))[0, :, 0].tolist()
    expected = list(_TONE_CODES)
    if codes[: len(expected)] == expected:
        return "codes of a 440 Hz tone: as published for WavTokenizer-large-unify-40token"
    return (
        f"codes of a 440 Hz tone: {' '.join(map(str, codes[: len(expected)]))}, which are not those of "
        f"WavTokenizer-large-unify-40token ({' '.join(map(str, expected))}): these are other weights"
    )
