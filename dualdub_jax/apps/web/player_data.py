"""What the player of the page shows: pictures of the tracks, the film strip, and the words with their times.

Pictures are data URIs, so that the player asks for one document and for the sounds that it plays.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.dubbing.quality import Quality
from dualdub_jax.dubbing.take import FinishedTake
from dualdub_jax.media.track import MonoView, Track
from dualdub_jax.pages.data_uri import jpeg_uri, webp_uri
from dualdub_jax.pages.track_pictures import mel_levels_db, paint_spectrogram, waveform_svg


def draw_tracks(tracks: Mapping[str, Track]) -> dict[str, dict[str, str | None]]:
    """By track name, its waveform as SVG and its spectrogram as data URI; None: every sample is zero."""
    pictures: dict[str, dict[str, str | None]] = {}
    for name, track in tracks.items():
        mono = MonoView(track)
        wave = waveform_svg(mono)
        mel = None
        if wave is not None and name != "mix":
            mel = webp_uri(paint_spectrogram(mel_levels_db(mono, track.sample_rate_hz)))
        pictures[name] = {"wave": wave, "spectrogram": mel}
    return pictures


def draw_strip(strip: np.ndarray) -> list[str]:
    """Data URIs of a film's thumbnails, uint8[N, height, width, 3]."""
    return [jpeg_uri(picture) for picture in strip]


def describe_words(quality: Quality) -> list[dict[str, Any]]:
    """What is due in the speech track, when it is audible, the words recognised, and what is wrong."""
    words = []
    for index, spoken in enumerate(quality.spoken):
        found = quality.describe_utterance(index)
        words.append(
            {
                "start_s": found["due_start_s"],
                "end_s": found["due_end_s"],
                "speaker": found["speaker"],
                "text": spoken.utterance.written or spoken.utterance.text,
                "cues": found["cues"],
                "recognised": found["recognised"],
                "warning": spoken.warning,
            }
        )
    return words


def describe_take(number: int, take: FinishedTake, chosen: int) -> dict[str, Any]:
    """What tells a take from others: its seed, the region that it redoes, its scores."""
    detail = [f"seed {take.seed}"]
    if take.region_s is not None:
        start_s, end_s = take.region_s
        detail.append(f"{start_s:.2f} to {end_s:.2f} s of take {take.parent} anew")
    detail += [f"{name} {value:.2f}" for name, value in take.scores.items() if value is not None]
    return {
        "id": number,
        "label": f"Take {number}",
        "detail": ", ".join(detail),
        "region_s": take.region_s,
        "is_chosen": number == chosen,
    }
