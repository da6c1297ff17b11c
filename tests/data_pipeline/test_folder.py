"""A folder of films as a corpus: cut, synchronous, small; bad files named and counted."""

import io
import json
import pathlib
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
import rich.console

from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.build import build
from dualdub_jax.data_pipeline.builders.folder import Folder
from dualdub_jax.data_pipeline.dataset import Dataset
from dualdub_jax.errors import UserError
from tests.films import damage_last_packets, frame_level, make_film, make_sound_only

RATE_HZ = 48_000


def _build(source: pathlib.Path, out: pathlib.Path, **options: Any) -> tuple[Dataset, str]:
    console = rich.console.Console(file=io.StringIO(), width=300)
    options = {"dataset": "films", "val_share": 0.0, "cut": "equal", **options}
    (folder,) = build("folder", out, source=source, num_processes=1, console=console, **options)
    return Dataset(folder), console.file.getvalue()


def _clips(source: pathlib.Path, out: pathlib.Path, **options: Any) -> list[record.Record]:
    found = list(_build(source, out, **options)[0].records("train"))
    return sorted(found, key=lambda clip: clip["id"])


def _pictures(clip: record.Record) -> tuple[np.ndarray, np.ndarray]:
    """Times float[F], seconds, and pictures uint8[F, height, width, 3] of a clip's video."""
    with av.open(io.BytesIO(clip["video"])) as container:
        pictures = list(container.decode(video=0))
    images = np.stack([picture.to_ndarray(format="rgb24") for picture in pictures])
    return np.array([picture.time for picture in pictures]), images


def _flash_film(
    path: pathlib.Path, rate: Fraction, start_s: Fraction, sound: str, sound_from_s: float = 0.0
) -> None:
    """12 s of black; each full second has a white picture and a click of 1 ms."""
    num_frames = int(12 * rate)
    times = [i / rate for i in range(num_frames)]
    white = {min(range(num_frames), key=lambda i: abs(times[i] - second)) for second in range(12)}
    samples = np.zeros(12 * RATE_HZ, np.int16)
    for i in white:
        first = round(times[i] * RATE_HZ)
        samples[first : first + 48] = 20_000
    first_sample = round(sound_from_s * RATE_HZ)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, 90_000)
        video.options = {"g": "250", "bf": "2", "preset": "ultrafast"}
        audio = container.add_stream(sound, rate=RATE_HZ, layout="mono")
        written = first_sample
        for i, time_s in enumerate(times):
            image = np.full((48, 64, 3), 255 if i in white else 0, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.time_base = Fraction(1, 90_000)
            frame.pts = round((time_s + start_s) * 90_000)
            container.mux(video.encode(frame))
            while written + 1200 <= round((time_s + 1 / rate) * RATE_HZ):
                block = samples[None, written : written + 1200]
                if sound == "aac":
                    block = block.astype(np.float32) / 32_768
                kind = "fltp" if sound == "aac" else "s16"
                sounding = av.AudioFrame.from_ndarray(block, format=kind, layout="mono")
                sounding.sample_rate, sounding.time_base = RATE_HZ, Fraction(1, RATE_HZ)
                sounding.pts = written + round(start_s * RATE_HZ)
                container.mux(audio.encode(sounding))
                written += 1200
        container.mux(video.encode())
        container.mux(audio.encode())


@pytest.mark.parametrize("rate", ["24000/1001", "24", "25", "30000/1001", "30", "50", "60"])
@pytest.mark.parametrize(
    ("suffix", "sound", "start_s"), [(".mov", "pcm_s16le", 0), (".mkv", "flac", 3), (".mp4", "aac", 0)]
)
def test_a_flash_and_its_click_stay_together_in_every_clip(
    tmp_path: pathlib.Path, rate: str, suffix: str, sound: str, start_s: int
) -> None:
    films = tmp_path / "films"
    films.mkdir()
    _flash_film(films / f"a{suffix}", Fraction(rate), Fraction(start_s), sound)
    clips = _clips(films, tmp_path / "out", clip_s=2.4)
    assert len(clips) == 5
    num_flashes = 0
    for clip in clips:
        times_s, images = _pictures(clip)
        stem = record.decode_stem(clip["background"], "x", clip["duration_s"], RATE_HZ)
        flashes_s = times_s[images.mean((1, 2, 3)) > 128]
        loud = np.flatnonzero(np.abs(stem) > 0.25)
        clicks_s = loud[np.diff(loud, prepend=-RATE_HZ) > RATE_HZ // 4] / RATE_HZ
        # A picture that was on screen when the clip began is put at its start.
        flashes_s, clicks_s = flashes_s[flashes_s > 0.05], clicks_s[clicks_s > 0.05]
        np.testing.assert_allclose(clicks_s, flashes_s, atol=0.0015)
        num_flashes += len(flashes_s)
    assert num_flashes >= 8


def test_sound_that_begins_late_is_silent_before(tmp_path: pathlib.Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    _flash_film(films / "a.mkv", Fraction(25), Fraction(0), "flac", sound_from_s=3.5)
    clips = _clips(films, tmp_path / "out", clip_s=2.0)
    stems = [record.decode_stem(c["background"], "x", c["duration_s"], RATE_HZ) for c in clips]
    assert not stems[0].any() and not stems[1][: RATE_HZ + RATE_HZ // 2].any()
    assert abs(int(np.flatnonzero(stems[2])[0])) < 48


def test_clips_cover_the_film_without_overlap(tmp_path: pathlib.Path) -> None:
    films = tmp_path / "films" / "deep"
    films.mkdir(parents=True)
    make_film(films / "a.mp4", num_frames=2210, num_b_frames=2)  # 88.4 s
    clips = _clips(tmp_path / "films", tmp_path / "out", clip_s=4.0)
    assert [clip["duration_s"] for clip in clips] == [4.0] * 22  # 0.4 s at the end are no clip
    assert [record.text(clip["id"]) for clip in clips] == [f"deep/a.mp4/{i:05d}" for i in range(22)]
    for index, clip in enumerate(clips):
        times_s, images = _pictures(clip)
        np.testing.assert_allclose(times_s, np.arange(100) / 25, atol=1e-4)
        expected = [frame_level(100 * index + i) for i in range(100)]
        np.testing.assert_allclose(images.mean((1, 2, 3)), expected, atol=3)
        assert json.loads(clip["events"])["source"] == {"id": "deep/a.mp4", "start_s": 4.0 * index}


def test_pictures_are_small_upright_and_of_square_pixels(tmp_path: pathlib.Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    make_film(films / "a.mp4", size=(640, 360))
    make_film(films / "b.mp4", size=(96, 64), rotation=90, left=250)
    make_film(films / "c.mp4", size=(64, 48), pixel_aspect=Fraction(2))
    sizes = [_pictures(clip)[1].shape[1:3] for clip in _clips(films, tmp_path / "out", short_side=72)]
    assert sizes == [(72, 128), (96, 64), (48, 128)]
    rotated = _pictures(_clips(films, tmp_path / "again", short_side=72)[1])[1][0].mean(-1)
    assert rotated[-16:].mean() > 230 and rotated[:64].mean() < 40  # the left quarter is at the bottom


def test_a_variable_rate_keeps_every_time(tmp_path: pathlib.Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    times = [Fraction(i * i, 100) for i in range(20)]  # the last one at 3.61 s
    make_film(films / "a.mp4", num_frames=20, times=times, time_base=Fraction(1, 1000))
    (clip,) = _clips(films, tmp_path / "out", clip_s=5.0)
    np.testing.assert_allclose(_pictures(clip)[0], [float(t) for t in times], atol=1e-3)


def test_bad_files_are_named_and_counted(tmp_path: pathlib.Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    make_film(films / "good.mp4", has_audio=True)
    make_film(films / "short.mp4", num_frames=10)
    make_sound_only(films / "sound.mp4")
    (films / "bad.mp4").write_bytes(b"nothing at all")
    (films / "notes.txt").write_text("not looked at")
    made = make_film(tmp_path / "whole.mp4", num_frames=250, noise=True)
    damage_last_packets(made, films / "damaged.mp4", 60)
    dataset, printed = _build(films, tmp_path / "out", clip_s=2.0, licence="CC0-1.0")
    clips = [record.text(clip["id"]) for clip in dataset.records("train")]
    assert "good.mp4" in clips and "damaged.mp4/00000" in clips and "damaged.mp4/00004" not in clips
    dropped = dataset.metadata["dropped"]
    assert dropped["cannot be opened"] == 2 and dropped["shorter than 1 s"] == 1
    assert sum(dropped.values()) >= 4
    for line in ("bad.mp4: dropped: cannot be opened", "short.mp4: dropped: shorter than 1 s",
                 "sound.mp4: dropped", "damaged.mp4 at 8.00 s: dropped"):  # fmt: skip
        assert line in printed
    assert "notes.txt" not in printed
    assert {record.text(clip["licence"]) for clip in dataset.records("train")} == {"CC0-1.0"}


def test_films_without_sound_are_kept_or_dropped(tmp_path: pathlib.Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    make_film(films / "loud.mp4", has_audio=True)
    make_film(films / "mute.mp4")
    kept = _clips(films, tmp_path / "keep", without_sound="keep")
    assert [bool(clip["background"]) for clip in kept] == [True, False]
    assert all(clip["video"] and not clip["has_script"] and not clip["speech"] for clip in kept)
    dataset, printed = _build(films, tmp_path / "drop", without_sound="drop")
    assert dataset.metadata["dropped"] == {"no sound": 1} and "mute.mp4: dropped: no sound" in printed
    assert len(dataset.records("train")) == 1


def test_the_split_is_by_film_and_stays_when_films_are_added(tmp_path: pathlib.Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    for i in range(12):
        make_film(films / f"{i}.mp4", num_frames=25, size=(16, 16))

    def validation() -> set[str]:
        return {clip.id for clip in Folder(films, val_share=0.3).splits("")["validation"]}

    before = validation()
    assert 0 < len(before) < 12
    for i in range(12, 20):
        make_film(films / f"{i}.mp4", num_frames=25, size=(16, 16))
    assert before == {file for file in validation() if int(file[:-4]) < 12}


def test_same_bytes_for_any_number_of_processes_and_other_films_are_refused(tmp_path: pathlib.Path) -> None:
    films = tmp_path / "My Films"
    films.mkdir()
    for i in range(3):
        make_film(films / f"{i}.mp4", has_audio=True, noise=True)
    quiet = rich.console.Console(file=io.StringIO())
    digests = []
    for num_processes in (1, 2):
        out = tmp_path / f"out{num_processes}"
        (folder,) = build("folder", out, source=films, num_processes=num_processes, console=quiet)
        assert folder == out / "my_films" / "2.0.0"
        digests.append({p.name: p.read_bytes() for p in folder.iterdir()})
    assert digests[0] == digests[1]
    make_film(films / "3.mp4")
    with pytest.raises(UserError, match="holds a build with other settings"):
        build("folder", tmp_path / "out1", source=films, num_processes=1, console=quiet)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "gone"}, "gone: no such folder"),
        ({"source": "."}, r"no video in it; known suffixes are \.3g2"),
        ({"clip_s": 0.5}, "--clip-s 0.5: expected 1 s or more"),
        ({"val_share": 1.0}, "--val-share 1: expected"),
        ({"short_side": 4}, "--short-side 4: expected"),
        ({"dataset": "My Films"}, "--name My Films: expected"),
    ],
)
def test_bad_options_are_named(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, options: dict, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        build("folder", tmp_path / "out", **{"source": ".", **options})


def test_a_folder_of_bad_films_alone_is_an_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "bad.mp4").write_bytes(b"nothing at all")
    listed = tmp_path / "out" / "films" / "failures.jsonl"
    message = rf"films: no item of the source gives a record: all 1 are listed in {listed}"
    with pytest.raises(UserError, match=message):
        _build(tmp_path / "films", tmp_path / "out")
    (line,) = map(json.loads, listed.read_text().splitlines())
    assert line["id"] == "bad.mp4" and line["reason"]
    make_film(tmp_path / "films" / "good.mp4", num_frames=30)
    _build(tmp_path / "films", tmp_path / "out")
    assert not listed.exists()  # the dataset has its own
