"""Encoding of sounds of any length in bounded memory: overlapping windows, of which the middles are kept.

    | kept               | after |
                | before | kept               | after |
                                     | before | kept     |

A sound of at most one window is encoded in one call. Beyond, the tokens are those of one call if the codec's
receptive field is within `BEFORE_S` and `AFTER_S`, as DAC's, and nearly those otherwise. Source: our choice.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from dualdub_jax.codecs.base import Codec

WINDOW_S = 20.0
BEFORE_S = 4.0
AFTER_S = 1.0


def encode_windows(
    codec: Codec,
    blocks: Iterable[np.ndarray],
    *,
    window_s: float = WINDOW_S,
    before_s: float = BEFORE_S,
    after_s: float = AFTER_S,
) -> Iterator[np.ndarray]:
    """Encodes a sound.

    Args:
        codec: all its calls on a long sound have one shape.
        blocks: float32[s] each, at the codec's sample rate; the last frame is zero-padded.
        window_s: samples of one call, seconds.
        before_s: context before the kept frames of a window.
        after_s: context after them.

    Yields:
        int32[t, Q]; together ceil(samples / samples per frame) frames, none for an empty sound.

    Raises:
        ValueError: a window that is not longer than its contexts.
    """
    hop, rate = codec.spec.samples_per_frame, codec.spec.frame_rate
    window, before, after = (math.ceil(seconds * rate) for seconds in (window_s, before_s, after_s))
    if window <= before + after:
        raise ValueError(f"a window of {window} frames is not longer than its contexts of {before} + {after}")
    held, skipped = np.zeros(0, np.float32), 0  # samples, and frames at their beginning that are context
    for block in blocks:
        held = np.concatenate([held, np.asarray(block, np.float32)])
        while len(held) > window * hop:
            yield _encode(codec, held[: window * hop], window)[skipped : window - after]
            held, skipped = held[(window - after - before) * hop :], before
    if not len(held):
        return
    num_frames = -(-len(held) // hop)
    if skipped:
        yield _encode(codec, held, window)[skipped:num_frames]
    else:
        yield np.asarray(codec.encode(held[None]))[0]


def _encode(codec: Codec, samples: np.ndarray, window: int) -> np.ndarray:
    """int32[window, Q] of at most a window of samples; arbitrary past their end."""
    hop = codec.spec.samples_per_frame
    padded = np.pad(samples, (0, window * hop - len(samples)))
    mask = np.arange(window) < -(-len(samples) // hop)
    return np.asarray(codec.encode(padded[None], mask[None]))[0]
