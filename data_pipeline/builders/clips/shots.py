"""Where the pictures of a film change from one shot to the next."""

import itertools
from fractions import Fraction
from pathlib import Path

from dualdub_jax.data_pipeline.builders.clips.small_video import pictures_from
from dualdub_jax.media.shots import small_pictures
from dualdub_jax.media.timing import Timing


def shot_changes_s(path: Path, timing: Timing, start_s: Fraction, end_s: Fraction) -> list[Fraction]:
    """Times of the first pictures of shots, see `media.shots`; pictures are decoded, none are kept.

    Args:
        path: the film.
        timing: of its video stream.
        start_s: seconds after the film's first picture.
        end_s: likewise.

    Returns:
        Seconds after the film's first picture, rising, all between the two.
    """
    pictures = (
        (time_s, picture.frame)
        for time_s, picture in itertools.takewhile(
            lambda timed: timed[0] < end_s, pictures_from(path, timing, start_s)
        )
    )
    return [small.time_s for small in small_pictures(pictures) if small.is_change and small.time_s > start_s]
