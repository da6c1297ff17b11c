"""Two sentences of the tone bank, which numpy alone makes: the sound that `pymcd.json` speaks of."""

import numpy as np

from dualdub_jax.data_pipeline.builders.puppet_stage.voices import SAMPLE_RATE_HZ, ToneBank

__all__ = ["SAMPLE_RATE_HZ", "made_and_true"]


def made_and_true() -> tuple[np.ndarray, np.ndarray]:
    """float32[S], float32[S']: nearly the same words, another voice, another length, a faint hiss."""
    bank = ToneBank()
    rng = np.random.default_rng(0)
    texts = {"tone-1": "place red now", "tone-0": "place red again"}
    made, true = (
        samples + np.float32(0.001) * rng.standard_normal(len(samples), np.float32)
        for samples in (bank.synthesise(voice, text)[0] for voice, text in texts.items())
    )
    return made, true
