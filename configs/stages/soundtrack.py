"""Stage 3, video–soundtrack: both streams from all conditions; data of stages 1 and 2 are replayed.

Source: the paper's third stage; mixture weights are our choice.
"""

from dualdub_jax.configs.common import mixture


def get_stage(num_steps: int, learning_rate: float = 2e-3) -> dict:
    return {
        "name": "soundtrack",
        "mixture": mixture(soundtrack=0.7, text_speech=0.15, video_audio=0.15),
        "num_steps": num_steps,
        "optimizer": {"learning_rate": learning_rate, "final_learning_rate_ratio": 0.02},
    }
