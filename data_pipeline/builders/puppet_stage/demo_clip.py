"""Writes one held-out clip as the files of `dualdub demo`: silent film, voice, script, ground truth.

    python -m dualdub_jax.data_pipeline.builders.puppet_stage.demo_clip dualdub_jax/assets/demo --index 3

The film is enlarged four times for viewers; the model's frames are scaled down again.
"""

import argparse
import json
import pathlib

import av
import numpy as np
import soundfile

from dualdub_jax.data_pipeline.builders.puppet_stage.clip import GRID, encode_video, make_clip, to_record

_ENLARGE = 4


def write_demo_clip(directory: pathlib.Path, *, seed: int, split: str, index: int) -> None:
    """Renders clip `index` of `split` in the world of `seed`.

    Writes clip.mp4, voice.wav and script.txt, and the ground truth of the demo's figures: speech.flac,
    background.flac and truth.json (script and events).
    """
    clip = make_clip("hibari", "soundtrack", seed, split, index)
    directory.mkdir(parents=True, exist_ok=True)
    frames = np.stack([_enlarged(frame) for frame in clip.frames])
    (directory / "clip.mp4").write_bytes(encode_video(frames, GRID.frame_rate_hz))
    soundfile.write(directory / "voice.wav", clip.voice, GRID.sample_rate_hz, subtype="PCM_16")
    (directory / "script.txt").write_text(clip.script + "\n", encoding="utf-8")
    record = to_record(clip)
    for stem in ("speech", "background"):
        (directory / f"{stem}.flac").write_bytes(record[stem])
    truth = {"script": clip.script, "events": json.loads(record["events"])}
    (directory / "truth.json").write_text(json.dumps(truth) + "\n", encoding="utf-8")


def _enlarged(frame: np.ndarray) -> np.ndarray:
    size = _ENLARGE * GRID.frame_size
    picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
    return picture.reformat(width=size, height=size, interpolation="LANCZOS", threads=1).to_ndarray()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", default="test_seen")
    parser.add_argument("--index", type=int, default=0)
    args = parser.parse_args()
    write_demo_clip(args.directory, seed=args.seed, split=args.split, index=args.index)


if __name__ == "__main__":
    main()
