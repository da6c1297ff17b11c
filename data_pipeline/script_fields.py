"""The script of an example: its tokens, and the token that is spoken in each frame."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dualdub_jax.config import GridConfig
from dualdub_jax.data_pipeline import record as record_lib
from dualdub_jax.data_pipeline.record import Record
from dualdub_jax.errors import UserError
from dualdub_jax.text.tokenizer import Tokenizer


def script_fields(script: str, tokenizer: Tokenizer, grid: GridConfig, clip: str) -> dict[str, Any]:
    """Tokens, mask and flag of a script.

    Args:
        script: as the tokenizer reads it.
        tokenizer: of the scripts.
        grid: with the longest script of a window.
        clip: for errors.

    Returns:
        "script_tokens" int32[L], "script_mask" bool[L], "has_script".

    Raises:
        UserError: more tokens than the window takes.
    """
    ids = tokenizer.encode(script)
    limit = grid.num_script_tokens
    if len(ids) > limit:
        raise UserError(
            f"{clip}: its script has {len(ids)} tokens with the markers, more than "
            f"grid.num_script_tokens={limit}; raise that, or shorten the script"
        )
    tokens = np.zeros(limit, np.int32)
    tokens[: len(ids)] = ids
    return {"script_tokens": tokens, "script_mask": np.arange(limit) < len(ids), "has_script": np.True_}


def script_alignment(
    record: Record,
    script: str,
    text: str,
    tokenizer: Tokenizer,
    grid: GridConfig,
    frame_mask: np.ndarray,
    clip: str,
) -> np.ndarray:
    """The token spoken in each frame, from the times of words; a pause belongs to the token before it.

    Args:
        record: with the times.
        script: its words, as the times have them.
        text: the script as it was tokenised, of as many words.
        tokenizer: of the scripts.
        grid: of the frames.
        frame_mask: bool[T], True inside the clip.
        clip: for errors.

    Returns:
        int32[T], -1 where it is unknown.

    Raises:
        UserError: times of other words.
    """
    timed = record_lib.timings(record, clip, "words")
    if not timed:
        return np.full(grid.num_frames, -1, np.int32)
    words, phonemes = text.split(), record_lib.timings(record, clip, "phonemes")
    if [word for word, _, _ in timed] != script.split():
        raise UserError(f"{clip}: speech.words of its events are not its script; build the dataset again")
    middles_s = (np.arange(grid.num_frames) + 0.5) / float(grid.frame_rate)
    begins: list[float] = []  # of each token after the begin marker, seconds
    first = 1
    for i, (_, begins_s, ends_s) in enumerate(timed):
        # Of the script up to this word, for tokenizers whose words are not cut out of a text one by one.
        following = len(tokenizer.encode(" ".join(words[: i + 1]))) - 1
        starts_s: Sequence[float] = [start_s for _, start_s, _ in phonemes if begins_s <= start_s < ends_s]
        if len(starts_s) != following - first:  # tokens are something else: all are as long
            starts_s = np.linspace(begins_s, ends_s, following - first, endpoint=False)
        begins.extend(starts_s)
        first = following
    # The last token that has begun, also where words overlap: no token begins after a later one.
    earliest_s = np.minimum.accumulate(begins[::-1])[::-1] if begins else np.zeros(0)
    places = np.searchsorted(earliest_s, middles_s, side="right")
    places = np.where(middles_s > timed[-1][2], first, places)  # the end marker
    return np.where(frame_mask, places, -1).astype(np.int32)
