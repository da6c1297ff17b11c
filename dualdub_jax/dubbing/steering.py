"""When the words of a window are spoken: bounds of the position in its script, and the tokens of silence.

Before the words are due the position rests on the begin marker, behind them on the end marker. While they
are due the model chooses when to speak, by the mouth on screen, as long as the words can still be finished at
`LATEST_RATE`; from then on the position follows that rate. Source: our choice.
"""

import numpy as np

from dualdub_jax.codecs.base import Codec
from dualdub_jax.dubbing.generation import Steering
from dualdub_jax.dubbing.rates import COMFORTABLE_RATE, MAX_RATE

LATEST_RATE = (COMFORTABLE_RATE + MAX_RATE) // 2  # letters a second
SLACK_TOKENS = 1.5  # that the position may be behind `LATEST_RATE` before it is moved
SILENCE_DBFS = -60.0  # room noise of a film whose acoustics are unknown
_SILENT_LEVELS_DBFS = (-np.inf, -80.0, -70.0, -60.0, -50.0, -40.0, -30.0)


def silence_tokens(codec: Codec, num_frames: int, level_dbfs: float) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of silence in a room, and the first codes of silence of any room.

    Args:
        codec: of the speech stream.
        num_frames: T.
        level_dbfs: of the room's noise.

    Returns:
        int32[T, Q] of white noise at that level, and bool[V].
    """
    noise = np.random.default_rng(0).standard_normal(num_frames * codec.spec.samples_per_frame)
    levels = 10.0 ** (np.array([level_dbfs, *_SILENT_LEVELS_DBFS]) / 20)
    tokens = np.asarray(codec.encode((levels[:, None] * noise).astype(np.float32)))
    silent_codes = np.zeros(codec.spec.codebook_size, bool)
    silent_codes[tokens[:, :, 0]] = True
    return tokens[0], silent_codes


def make_steering(
    num_frames: int,
    span: tuple[int, int],
    num_tokens: int,
    needed_frames: float,
    num_context: int,
    silent_codes: np.ndarray,
) -> Steering:
    """Steers the speech of a window into a span.

    Args:
        num_frames: T.
        span: frames [first, end) with speech; empty: none.
        num_tokens: of the window's script, markers included.
        needed_frames: duration of the script at `LATEST_RATE`.
        num_context: frames of context, whose speech is given.
        silent_codes: see `Steering`.
    """
    (first, end), last_token = span, num_tokens - 1
    frame = np.arange(num_frames)
    needed = max(1.0, min(end - first, needed_frames))
    due = np.clip(last_token * (1 - (end - frame) / needed), 0, last_token)
    is_due = (frame >= first) & (frame < end)
    return Steering(
        is_silent=(frame >= num_context) & ~is_due,
        due_position=np.where(is_due, due, 0).astype(np.float32),
        least_position=np.where(frame < end, np.maximum(due - SLACK_TOKENS, 0), last_token).astype(
            np.float32
        ),
        most_position=np.where(frame < first, 0, last_token).astype(np.float32),
        silent_codes=silent_codes,
    )
