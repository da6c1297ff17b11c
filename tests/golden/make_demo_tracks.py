"""Writes demo_tracks.npz: tokens and stems of the bundled clip by the bundled checkpoint, seed 0.

    PYTHONPATH=CHECKOUT python tests/golden/make_demo_tracks.py

The file in the repository was written by the code of version 0.1.0 (commit 27119bf), before bundles had
format 2: it holds later versions to the same tracks. Write it anew only with another bundled checkpoint.
"""

import pathlib

import numpy as np

import dualdub_jax
from dualdub_jax.types import STREAMS

OUT = pathlib.Path(__file__).with_name("demo_tracks.npz")


def main() -> None:
    model = dualdub_jax.load()
    demo = pathlib.Path(dualdub_jax.__file__).parent / "assets" / "demo"
    generate, seen = model.engine.generate, {}

    def recorded(**request):
        seen["acoustics"], seen["tokens"] = request["acoustics"], generate(**request)
        return seen["tokens"]

    model.engine.generate = recorded
    soundtrack = model.dub(demo / "clip.mp4", script=str(demo / "script.txt"), voice=demo / "voice.wav")
    arrays = {f"{stream}_tokens": seen["tokens"][stream].astype(np.int16) for stream in STREAMS}
    arrays |= {stream: np.round(getattr(soundtrack, stream) * 32768).astype(np.int16) for stream in STREAMS}
    np.savez_compressed(OUT, **arrays, acoustics=np.float32(seen["acoustics"]))


if __name__ == "__main__":
    main()
