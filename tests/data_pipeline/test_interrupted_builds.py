"""Builds that are killed and started again, and films of an hour: same bytes, bounded memory."""

import contextlib
import hashlib
import io
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
import pytest
import rich.console

from dualdub_jax.data_pipeline.build import build
from dualdub_jax.data_pipeline.builders.clips.clip_settings import ClipSettings
from dualdub_jax.data_pipeline.builders.clips.cutting import Cutter
from dualdub_jax.data_pipeline.builders.clips.records import make_records
from dualdub_jax.data_pipeline.builders.clips.source_clip import SourceClip
from dualdub_jax.data_pipeline.builders.folder import Folder
from dualdub_jax.errors import UserError
from tests.films import make_film


def _digests(folder: pathlib.Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _quiet() -> rich.console.Console:
    return rich.console.Console(file=io.StringIO(), width=200)


def _children(pid: int) -> list[int]:
    """Processes that it has started."""
    found = []
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):  # has ended
            if f"\nPPid:\t{pid}\n" in status.read_text():
                found.append(int(status.parent.name))
    return found


def _wait_for_the_end_of(pids: list[int], timeout_s: float = 30) -> None:
    assert pids
    for _ in range(int(timeout_s / 0.05)):
        if not any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids):
            return
        time.sleep(0.05)
    raise AssertionError(f"{pids} are still there")


def test_a_killed_build_goes_on_with_the_same_bytes(tmp_path: pathlib.Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    for number in range(6):
        film = films / f"{number}.mp4"
        make_film(film, num_frames=100, has_audio=True, noise=True, size=(160, 120))
    (films / "bad.mp4").write_bytes(b"nothing")
    command = [sys.executable, "-m", "dualdub_jax.apps.cli", "data", "build", "folder",
               "--source", str(films), "--out", str(tmp_path / "out"), "--processes", "2"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    spool = tmp_path / "out" / ".building"
    for _ in range(600):
        if len(list(spool.rglob("*.records"))) >= 2:
            break
        time.sleep(0.05)
    workers = _children(process.pid)
    with pytest.raises(UserError, match="another process builds the same dataset there"):
        build("folder", tmp_path / "out", source=films, num_processes=1, console=_quiet())
    process.send_signal(signal.SIGKILL)
    process.wait()
    _wait_for_the_end_of(workers)
    assert list((tmp_path / "out" / "films").glob("incomplete.*"))
    made = {path: path.stat().st_mtime_ns for path in spool.rglob("*.records")}
    assert len(made) >= 2 and not (tmp_path / "out" / "films" / "2.0.0").exists()

    times = []

    class Watched(Folder):
        def make_records(self, config: str, item: SourceClip) -> Iterator:
            times.append(item.id)
            return super().make_records(config, item)

    build(Watched(films), tmp_path / "out", num_processes=1, console=_quiet())
    assert len(times) == 7 - len(made)  # finished items are not made again
    assert not spool.exists()
    assert [path.name for path in (tmp_path / "out" / "films").iterdir()] == ["2.0.0"]
    build("folder", tmp_path / "once", source=films, num_processes=1, console=_quiet())
    assert _digests(tmp_path / "out" / "films") == _digests(tmp_path / "once" / "films")


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An hour of little pictures, one a second, with sound at 8 kHz."""
    path = tmp_path_factory.mktemp("hour") / "hour.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=1)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        video.options = {"preset": "ultrafast", "g": "60"}
        audio = container.add_stream("pcm_s16le", rate=8_000, layout="mono")
        tone = (8_000 * np.sin(np.arange(8_000) * 0.3)).astype(np.int16)
        tone[6_000:7_500] = 0
        for second in range(3_600):
            picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), second % 200, np.uint8), format="rgb24")
            picture.pts, picture.time_base = second, Fraction(1)
            container.mux(video.encode(picture))
            sound = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = 8_000, second * 8_000, Fraction(1, 8_000)
            container.mux(audio.encode(sound))
        container.mux(video.encode())
        container.mux(audio.encode())
    return path


def test_an_hour_is_cut_in_bounded_memory(hour: pathlib.Path) -> None:
    code = (
        "import pathlib, resource\n"
        "from dualdub_jax.data_pipeline.builders.clips.clip_settings import ClipSettings\n"
        "from dualdub_jax.data_pipeline.builders.clips.records import make_records\n"
        "from dualdub_jax.data_pipeline.builders.clips.source_clip import SourceClip\n"
        "rss = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        f"clip = SourceClip('hour', {{'video': pathlib.Path({str(hour)!r})}})\n"
        "made = make_records(clip, ClipSettings(clip_s=8))\n"
        "seconds, after = 0.0, None\n"
        "for number, found in enumerate(made):\n"
        "    seconds += found['duration_s']\n"
        "    after = rss() if number == 20 else after\n"
        "print(number + 1, round(seconds), after, rss())\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    num_clips, seconds, after_20, at_end = map(int, printed.split())
    assert num_clips >= 450 and abs(seconds - 3_600) <= 8
    assert at_end - after_20 <= 40  # MB; the film's sound alone is 115 MB as float32


def test_cuts_are_in_pauses(hour: pathlib.Path) -> None:
    settings = ClipSettings(clip_s=8.0)
    clip = SourceClip("hour", {"video": hour}, start_s=100.0, end_s=160.0)
    ends_s = 100 + np.cumsum([made["duration_s"] for made in make_records(clip, settings)])
    assert ends_s[-1] == pytest.approx(160) and len(ends_s) >= 8
    phases = ends_s[:-1] % 1
    assert ((phases >= 0.75) & (phases <= 0.94)).all(), phases
    assert os.path.getsize(hour) > 1e6


def test_equal_parts_and_rests() -> None:
    def lengths(length_s: float, cut: str) -> list[float]:
        cutter = Cutter(Fraction(length_s).limit_denominator(1000), Fraction(4), cut, (), (), lambda *_: None)
        return [float(span.end_s - span.start_s) for span in cutter.spans()]

    assert lengths(8.8, "equal") == [4, 4] and lengths(9.5, "equal") == [4, 4, 1.5]
    assert lengths(4.3, "quiet") == [4]  # a short rest is lost
    assert lengths(4.8, "quiet") == [3.8, 1]  # so that the rest is a clip
    assert sum(lengths(61.7, "quiet")) == pytest.approx(61.7) and max(lengths(61.7, "quiet")) <= 4
