"""Stage 2, video–audio: background from video; data of stage 1 are replayed against forgetting.

Source: our order; video–audio is the paper's first stage.
"""

from dualdub_jax.configs.common import mixture


def get_stage(num_steps: int, learning_rate: float = 2.5e-3) -> dict:
    return {
        "name": "video_audio",
        "mixture": mixture(video_audio=0.75, text_speech=0.25),
        "num_steps": num_steps,
        "use_pretrained_video_encoder": True,
        "optimizer": {"learning_rate": learning_rate, "final_learning_rate_ratio": 0.3},
    }
