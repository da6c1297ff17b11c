"""Stage 1, text–speech: speech from script and reference voice, without video.

Source: our order; the paper adds text–speech in its second stage.
"""

from dualdub_jax.configs.common import mixture


def get_stage(num_steps: int, learning_rate: float = 3e-3) -> dict:
    return {
        "name": "text_speech",
        "mixture": mixture(text_speech=1.0),
        "num_steps": num_steps,
        "optimizer": {"learning_rate": learning_rate, "final_learning_rate_ratio": 0.3},
    }
