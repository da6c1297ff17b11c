"""Inspection of a corpus: its figures, and the page of its best and worst clips."""

import base64
import io
import pathlib
import re

import av
import numpy as np
import pytest
import rich.console
import soundfile

from dualdub_jax.apps.cli import main
from dualdub_jax.data_pipeline.agreement import agreement
from dualdub_jax.data_pipeline.inspection import inspect
from tests.data_pipeline.builders.corpora import build_one, write_sound

RATE_HZ = 16_000


def _flashes(times_s: list[float], seconds: float = 4.0) -> bytes:
    """A black film with white flashes of 80 ms."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for number in range(round(seconds * 25)):
            is_lit = any(0 <= number / 25 - time_s < 0.08 for time_s in times_s)
            picture = np.full((48, 64, 3), 255 if is_lit else 0, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
    return file.getvalue()


def _clicks(times_s: list[float], seconds: float = 4.0) -> np.ndarray:
    samples = np.random.default_rng(0).normal(0, 1e-3, round(seconds * RATE_HZ)).astype(np.float32)
    for time_s in times_s:
        samples[round(time_s * RATE_HZ) : round((time_s + 0.05) * RATE_HZ)] += 0.5
    return samples


def test_agreement_is_high_in_step_and_low_out_of_step() -> None:
    times_s = [0.4, 1.2, 2.4, 3.2]
    film = _flashes(times_s)
    in_step = agreement(film, _clicks(times_s), RATE_HZ, 4.0)
    late = agreement(film, _clicks([time_s + 0.32 for time_s in times_s]), RATE_HZ, 4.0)
    assert in_step > 0.6 and late < 0.1
    assert agreement(_flashes([]), _clicks(times_s), RATE_HZ, 4.0) is None  # a still picture
    assert agreement(film, np.zeros(4 * RATE_HZ, np.float32), RATE_HZ, 4.0) is None
    assert agreement(film, _clicks([]), RATE_HZ, 0.2) is None


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Two films with clicks, one of them out of step; a recording; a broken file."""
    folder = tmp_path_factory.mktemp("corpus")
    for name, shift_s in (("good", 0.0), ("late", 0.4)):
        (folder / f"{name}.mp4").write_bytes(_flashes([0.4, 1.2, 2.4]))
        soundfile.write(
            folder / f"{name}.wav", _clicks([0.4 + shift_s, 1.2 + shift_s, 2.4 + shift_s]), RATE_HZ
        )
    write_sound(folder / "said.wav", 2.0, rate_hz=22_050, level=0.1)
    (folder / "clips.csv").write_text(
        "id,video,background,speech,text,language,licence,words\n"
        "good,good.mp4,good.wav,,,,CC0-1.0,\nlate,late.mp4,late.wav,,,,CC0-1.0,\n"
        'said,,,said.wav,<b>hi</b>,en,CC-BY-4.0,"[[""hi"", 0.1, 0.5]]"\ngone,gone.mp4,,,,,,\n'
    )
    build_one("manifest", folder / "data", source=folder / "clips.csv")
    return folder / "data"


def test_figures(corpus: pathlib.Path) -> None:
    console = rich.console.Console(file=io.StringIO(), width=200)
    (figures,) = inspect(corpus, console=console).values()
    assert figures["clips"] == 3 and figures["seconds"] == pytest.approx(10.0)
    assert figures["lengths_s"] == [2.0, 4.0, 4.0]
    assert figures["frame_rates_hz"] == {25.0: 2} and figures["sample_rates_hz"] == {16_000: 2, 22_050: 1}
    assert figures["seconds_by_language"] == {"en": pytest.approx(2.0)}
    assert figures["with_words"] == 1 and figures["with_script"] == 1
    assert figures["levels_dbfs"]["speech"] == pytest.approx(-23, abs=0.2)
    printed = console.file.getvalue()
    for text in ("3, 0.00 h (0.2 min)", "2 (67%), 1 (33%), 2 (67%)", "CC-BY-4.0 0.0 min", "25 Hz (2)",
                 "22050 Hz (1)", "dropped when built: cannot be opened 1"):  # fmt: skip
        assert text in printed


def test_the_page_shows_the_worst_first_and_plays(corpus: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert main(["data", "inspect", str(corpus)]) == 0
    page = (corpus / "inspect.html").read_text()
    assert (
        page.index("Worst aligned") < page.index("late<br>") < page.index("good<br>") < page.index("said<br>")
    )
    assert "<b>hi</b>" not in page and page.count("<svg") == 3 and page.count("<img") == 2
    assert "clips: dropped when built</h2>" in page and "<td>cannot be opened</td><td>1</td>" in page
    film = base64.b64decode(re.search(r'<video [^>]*src="data:video/mp4;base64,([^"]+)"', page)[1])
    with av.open(io.BytesIO(film)) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) >= 4 * 48_000
    with av.open(io.BytesIO(film)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 100
    sound = base64.b64decode(re.search(r'<audio [^>]*src="data:audio/ogg;base64,([^"]+)"', page)[1])
    with av.open(io.BytesIO(sound)) as container:
        assert container.streams.audio[0].codec_context.name.startswith(("opus", "libopus"))
    assert main(["data", "inspect", str(corpus), "--html", str(tmp_path / "own.html")]) == 0
    assert (tmp_path / "own.html").is_file()


def test_what_is_unknown_or_long_is_shown_as_such(tmp_path: pathlib.Path) -> None:
    write_sound(tmp_path / "a.wav", 1.2)
    (tmp_path / "clips.csv").write_text(f"speech,text\na.wav,{'word ' * 500}\n")
    build_one("manifest", tmp_path / "data", source=tmp_path / "clips.csv")
    console = rich.console.Console(file=io.StringIO(), width=200)
    inspect(tmp_path / "data", page=tmp_path / "page.html", console=console)
    page, printed = (tmp_path / "page.html").read_text(), console.file.getvalue()
    assert "licence unknown" in page and "no licence" not in page
    for text in (page, printed):
        assert text.count("word ") < 50 and "… (2499 letters)" in text
    assert "clips/train  1 clip\n" in printed
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["clips"]


def test_a_page_that_cannot_be_written_is_named(corpus: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["data", "inspect", str(corpus), "--html", "/proc/nowhere/x.html"]) == 2
    message = capsys.readouterr().err
    assert "/proc/nowhere" in message and message.count("\n") == 1
