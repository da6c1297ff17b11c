"""The time to the first sound of `model.stream`; a part of `decode.py`."""

import pathlib
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
from train_step import clock

import dualdub_jax

FRAME_RATE, NUM_FRAMES, SIZE = 25, 200, 256
SCRIPT = "1\n00:00:00,200 --> 00:00:02,800\nlay blue at e nine soon\n"


def stream_turns(folder: pathlib.Path) -> Callable[[], dict[str, float]]:
    """Loads the bundled model and streams a film, which compiles all programs; the function takes a turn."""
    film, script = folder / "film.mp4", folder / "film.srt"
    write_film(film)
    script.write_text(SCRIPT, encoding="utf-8")
    model = dualdub_jax.load()

    def turn() -> dict[str, float]:
        chunks = model.stream(film, script=script)
        first = []
        first_s, first_cpu_s = clock(lambda: first.append(next(chunks)), 1)
        rest_s, _ = clock(lambda: [*chunks], 1)
        return {
            "first_sound_s": first_s,
            "first_sound_cpu_s": first_cpu_s,
            "chunk_s": len(first[0].speech) / first[0].sample_rate_hz,
            "film_s": NUM_FRAMES / FRAME_RATE,
            "stream_s": first_s + rest_s,
        }

    turn()
    return turn


def write_film(path: pathlib.Path) -> None:
    """A moving bar, without sound."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FRAME_RATE), options={"preset": "veryfast"})
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for index in range(NUM_FRAMES):
            picture = np.full((SIZE, SIZE, 3), 30, np.uint8)
            left = 3 * index % SIZE
            picture[:, left : left + 24] = 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
