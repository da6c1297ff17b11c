"""One object from a request to its tracks: streamed, on disk, and nothing left where nothing is wanted."""

import gc
import json
import pathlib
from fractions import Fraction

import av
import numpy as np
import pytest

from dualdub_jax.config import GridConfig
from dualdub_jax.dubbing.delivery import Targets, deliver
from dualdub_jax.dubbing.dub import DualDub
from dualdub_jax.dubbing.project import Project
from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.dubbing.take import Take
from dualdub_jax.errors import UserError
from dualdub_jax.media.track import Track
from tests.fake_engine import FakeEngine
from tests.films import decode_audio, make_film, read_film, video_packets

CHECKPOINT = pathlib.Path("checkpoint")


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> pathlib.Path:
    """Where projects without a folder of their own are."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def dub(path: pathlib.Path, engine: FakeEngine, **request) -> Project:
    project = Project(DubRequest(path, **request))
    project.read()
    project.dub(engine, CHECKPOINT)
    return project


def peaks_hz(track: np.ndarray, num_frames: int, rate_hz: int) -> np.ndarray:
    frames = track[: num_frames * (len(track) // num_frames)].reshape(num_frames, -1)
    return np.abs(np.fft.rfft(frames, rate_hz, axis=1)).argmax(axis=1)


@pytest.mark.parametrize(
    "rates_hz", [{"speech": 24_000, "background": 16_000}, {"speech": 16_000, "background": 32_000}]
)
def test_streams_of_two_rates_are_mixed_at_the_higher(tmp_path, rates_hz):
    source = make_film(tmp_path / "film.mp4", num_frames=61, rate=Fraction(24000, 1001))
    with dub(source, FakeEngine(rates_hz=rates_hz), script="hello") as project:
        rate_hz = max(rates_hz.values())
        assert project.sample_rate_hz == rate_hz
        num_samples = round(Fraction(61 * 1001, 24000) * rate_hz)
        for track in project.tracks.values():
            assert len(track) == num_samples and track.sample_rate_hz == rate_hz
        # The background's pitch is the brightness of the frame, at either rate.
        frames = read_film(source).frames[:60, 32, 32, 0]
        whole = project.tracks["background"][: 60 * rate_hz // 25]
        np.testing.assert_allclose(peaks_hz(whole, 60, rate_hz), 1200 + 4.0 * frames, atol=30)
        deliver(project, Targets.make(tmp_path / "out.mp4"))
    samples, heard_hz, _ = decode_audio(tmp_path / "out.mp4")
    assert heard_hz == rate_hz and len(samples) >= num_samples


@pytest.mark.parametrize("frame_rate", ["25/2", 40, "44100/2048"])
def test_any_time_grid(tmp_path, frame_rate):
    rate_hz = 44_100 if frame_rate == "44100/2048" else 16_000
    grid = GridConfig(frame_rate_hz=frame_rate, sample_rate_hz=rate_hz)
    engine = FakeEngine(grid=grid, rates_hz={"speech": rate_hz, "background": rate_hz})
    source = make_film(tmp_path / "film.mp4", num_frames=250)
    with dub(source, engine, script="hello there. and then some more of it.") as project:
        assert project.num_frames == -(-10 * grid.frame_rate // 1)
        assert project.windows[-1].end_frame == project.num_frames
        assert len(project.tracks["mix"]) == 10 * rate_hz
        shown = [int((t + Fraction(1, 2)) / grid.frame_rate * 25) for t in range(project.num_frames)]
        levels = [call["num_frames"] for call in engine.calls]
        assert sum(levels) - sum(w.num_context for w in project.windows) == project.num_frames
        background = project.take.tokens["background"][:, 0]
        film = read_film(source).frames[:, 32, 32, 0].astype(int)
        np.testing.assert_allclose(background, film[np.minimum(shown, 249)], atol=2)


def test_features_at_their_own_rate(tmp_path):
    source = make_film(tmp_path / "film.mp4", num_frames=240)
    pixels, features = FakeEngine(), FakeEngine(frame_rate=Fraction(40, 3))
    with dub(source, features, script="hello") as project, dub(source, pixels, script="hello") as other:
        assert len(project.windows) == len(other.windows) == 3
        held = project.take.tokens["background"][:, 0].astype(int)
        exact = other.take.tokens["background"][:, 0].astype(int)
        assert np.abs(held - exact).max() <= 12  # levels change by 10 a frame
        # 13 1/3 frames a second instead of 25: neighbouring steps share frames.
        assert 120 < np.count_nonzero(np.diff(held)) < 130 and np.diff(exact).all()


def test_films_that_take_turns_are_the_films_alone(tmp_path):
    films = [make_film(tmp_path / f"{n}.mp4", num_frames=n) for n in (150, 60, 240)]
    engine, requests = FakeEngine(), {}
    projects = [Project(DubRequest(film, script="hello. and more.", seed=n)) for n, film in enumerate(films)]
    for project in projects:
        project.read()
        project.plan(engine, CHECKPOINT)
        requests[project] = project.requests(engine)
    tokens, num_turns = dict.fromkeys(projects), 0
    while requests:
        for project in list(requests):
            try:
                tokens[project] = engine.generate(**requests[project].send(tokens[project]))
            except StopIteration:
                del requests[project]
        num_turns += 1
    assert num_turns == 1 + max(len(project.windows) for project in projects) == 4
    for n, (film, project) in enumerate(zip(films, projects, strict=True)):
        with project, dub(film, FakeEngine(), script="hello. and more.", seed=n) as alone:
            for name, track in alone.tracks.items():
                np.testing.assert_array_equal(project.tracks[name][:], track[:])


def test_a_folder_keeps_the_whole_project(tmp_path, temporary):
    (tmp_path / "s.srt").write_text("1\n00:00:01,000 --> 00:00:02,500\nANN: hello you\n")
    film = make_film(tmp_path / "film.mp4", num_frames=150)
    model = DualDub(FakeEngine(), CHECKPOINT)
    made = model.dub(film, str(tmp_path / "s.srt"), seed=4, project=tmp_path / "project")
    mix = made.mix
    del made
    gc.collect()
    kept = {str(path.relative_to(tmp_path / "project")) for path in (tmp_path / "project").rglob("*.*")}
    assert kept == {
        *("project.json", "strip.png", "takes/take_001.npz", "inputs/script.srt"),
        *(f"tracks/take_001/{name}.wav" for name in ("speech", "background", "mix")),
    }
    np.testing.assert_array_equal(Track(tmp_path / "project" / "tracks" / "take_001" / "mix.wav")[:], mix)
    described = json.loads((tmp_path / "project" / "project.json").read_text())
    assert described["cues"] == [{"start_s": 1.0, "end_s": 2.5, "text": "hello you", "speaker": "ANN"}]
    assert described["unspoken"] == {"speaker labels": ["ANN"]}
    assert described["request"]["seed"] == 4 and described["film"]["duration_s"] == 6.0
    assert [window["start_frame"] for window in described["windows"]] == [0, 100]
    take = Take.load(tmp_path / "project" / described["takes"][0]["file"])
    assert take.seed == 4 and {name: len(tokens) for name, tokens in take.tokens.items()} == {
        "speech": 150,
        "background": 150,
    }
    assert list(temporary.iterdir()) == []


def test_a_temporary_project_lives_as_long_as_its_soundtrack(tmp_path, temporary):
    made = DualDub(FakeEngine(), CHECKPOINT).dub(make_film(tmp_path / "film.mp4"), script="hello")
    assert len(list(temporary.iterdir())) == 1
    made.write(tmp_path / "out.mp4", stems=tmp_path / "stems")
    assert made.speech.any()
    del made
    gc.collect()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("fault", ["generate", "open_decoder"])
@pytest.mark.parametrize("folder", [None, "project"])
def test_a_job_that_fails_leaves_nothing(tmp_path, temporary, monkeypatch, fault, folder):
    engine = FakeEngine()
    monkeypatch.setattr(engine, fault, lambda *_, **__: 1 / 0)
    folder = folder and tmp_path / folder
    with pytest.raises(ZeroDivisionError):
        DualDub(engine, CHECKPOINT).dub(make_film(tmp_path / "film.mp4"), script="hello", project=folder)
    assert list(temporary.iterdir()) == [] and not (tmp_path / "project").exists()


def test_a_folder_in_use_is_not_touched(tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "letter.txt").write_text("mine")
    for folder in ("project", "project/letter.txt"):
        with pytest.raises(UserError, match=r"is in use; give a new or an empty folder for the project"):
            Project(DubRequest(make_film(tmp_path / "film.mp4")), tmp_path / folder)
    with pytest.raises(UserError, match=r"gone/project: cannot be made \(No such file or directory\)"):
        Project(DubRequest(tmp_path / "film.mp4"), tmp_path / "gone" / "project")
    assert (tmp_path / "project" / "letter.txt").read_text() == "mine"


def test_full_disk_while_decoding(tmp_path, temporary, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dualdub_jax.media.track.FloatFile.write", full_disk)
    with pytest.raises(UserError, match=r"speech.decoded: the disk is full"):
        DualDub(FakeEngine(), CHECKPOINT).dub(make_film(tmp_path / "film.mp4"), script="hello")
    assert list(temporary.iterdir()) == []


def test_the_film_is_opened_once_to_dub_and_only_its_copy_opens_it_again(tmp_path, monkeypatch):
    source = make_film(tmp_path / "film.mp4", has_audio=True)
    opened = []
    original = av.open

    def counted(file, *args, **options):
        opened.append(str(file))
        return original(file, *args, **options)

    monkeypatch.setattr(av, "open", counted)
    with Project(DubRequest(source, script="hello")) as project:
        project.read()
        project.dub(FakeEngine(), CHECKPOINT)
        assert sum("film.mp4" in name for name in opened) == 1
        deliver(project, Targets.make(tmp_path / "out.mp4", receipt=tmp_path / "r.json"))
    # Planned, rehearsed (written and compared), copied and compared.
    assert sum("film.mp4" in name for name in opened) == 6
    monkeypatch.undo()
    assert video_packets(tmp_path / "out.mp4") == video_packets(source)


def test_a_container_that_cannot_hold_the_film_is_found_before_the_work(tmp_path):
    request = DubRequest(make_film(tmp_path / "film.mp4"))
    with Project(request) as project, pytest.raises(UserError, match=r"out.webm: WEBM cannot hold h264"):
        project.read(tmp_path / "out.webm")
