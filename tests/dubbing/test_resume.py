"""Projects that are interrupted and continued: the same result, or one line that says why not."""

import json
import pathlib
import shutil

import numpy as np
import pytest
import soundfile

from dualdub_jax.dubbing.project import Project
from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.errors import UserError
from tests.apps.commands import files_in
from tests.fake_engine import FakeEngine
from tests.films import make_film

SRT = "1\n00:00:00,500 --> 00:00:02,500\nhello you\n\n2\n00:00:06,000 --> 00:00:08,000\nand me\n"
NUM_WINDOWS = 4  # of the film with this script


class Killed(BaseException):
    """As SIGKILL: nothing of ours runs after it."""


def kill_after(engine: FakeEngine, num_windows: int) -> None:
    """Stops at the next window that is requested."""
    original, calls = engine.generate, []

    def generate(**arguments):
        calls.append(arguments)
        if len(calls) > num_windows:
            raise Killed
        return original(**arguments)

    engine.generate = generate


@pytest.fixture
def film(tmp_path) -> pathlib.Path:
    (tmp_path / "s.srt").write_text(SRT)
    soundfile.write(tmp_path / "voice.wav", 0.2 * np.sin(np.arange(16_000) / 10), 16_000)
    return make_film(tmp_path / "film.mp4", num_frames=300)


def request(film: pathlib.Path, **changed) -> DubRequest:
    return DubRequest(
        **{"video": film, "script": film.with_name("s.srt"), "voice": film.with_name("voice.wav"), "seed": 5}
        | changed
    )


def dub(request: DubRequest, folder: pathlib.Path, engine: FakeEngine, **options) -> Project:
    project = Project(request, folder, **options)
    try:
        project.read()
        project.dub(engine, folder.with_name("checkpoint"))
    finally:
        project.close()
    return project


def sounds(project: Project) -> dict[str, bytes]:
    return {name: track.path.read_bytes() for name, track in project.tracks.items()}


def die(request: DubRequest, folder: pathlib.Path, num_windows: int) -> None:
    """Leaves the folder as a process does that is killed when it has generated some windows."""
    engine = FakeEngine()
    kill_after(engine, num_windows)
    project = Project(request, folder)
    project.read()
    with pytest.raises(Killed):
        project.dub(engine, folder.with_name("checkpoint"))
    if project._remove is not None:
        project._remove.detach()
    project.close()


@pytest.mark.parametrize("num_windows", [0, 1, 2, 3])
def test_resumed_at_any_window_it_is_the_uninterrupted_one(tmp_path, film, num_windows):
    whole_engine = FakeEngine()
    whole = dub(request(film), tmp_path / "whole", whole_engine)
    assert len(whole.windows) == NUM_WINDOWS
    die(request(film), tmp_path / "p", num_windows)
    engine = FakeEngine()
    resumed = dub(request(film), tmp_path / "p", engine, resume=True)
    assert len(engine.calls) == NUM_WINDOWS - num_windows
    assert sounds(resumed) == sounds(whole)
    for name, tokens in whole.take.tokens.items():
        np.testing.assert_array_equal(resumed.take.tokens[name], tokens)
    assert resumed.take.settings() == whole.take.settings() | {"checkpoint": str(tmp_path / "checkpoint")}
    assert [str(path) for path in files_in(tmp_path / "p")] == [str(p) for p in files_in(tmp_path / "whole")]
    np.testing.assert_array_equal(resumed.strip, whole.strip)


def test_an_interrupted_job_keeps_its_windows_and_one_without_any_leaves_nothing(tmp_path, film):
    for num_windows, is_kept in ((0, False), (1, True)):
        engine = FakeEngine()
        kill_after(engine, num_windows)
        with pytest.raises(Killed):
            dub(request(film), tmp_path / "p", engine)
        assert (tmp_path / "p").exists() == is_kept
    assert sorted(path.name for path in (tmp_path / "p" / "takes" / "take_001").iterdir()) == [
        "window_0001.npz"
    ]


@pytest.mark.parametrize("fault", ["Mixdown.measure", "decode"])
def test_interrupted_while_decoding_or_mixing(tmp_path, film, monkeypatch, fault):
    whole = dub(request(film), tmp_path / "whole", FakeEngine())
    with monkeypatch.context() as patched:
        patched.setattr(f"dualdub_jax.dubbing.take_tracks.{fault}", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            dub(request(film), tmp_path / "p", FakeEngine())
    engine = FakeEngine()
    resumed = dub(request(film), tmp_path / "p", engine, resume=True)
    assert engine.calls == [] and sounds(resumed) == sounds(whole)
    assert resumed.film == whole.film
    # Once more: all is done.
    again = dub(request(film), tmp_path / "p", engine, resume=True)
    assert engine.calls == [] and sounds(again) == sounds(whole) and again.spoken == whole.spoken


def test_takes_are_resumed_one_by_one(tmp_path, film):
    whole = dub(request(film, takes=3), tmp_path / "whole", FakeEngine())
    die(request(film, takes=3), tmp_path / "p", 7)
    engine = FakeEngine()
    resumed = dub(request(film, takes=3), tmp_path / "p", engine, resume=True)
    assert len(engine.calls) == 3 * NUM_WINDOWS - 7
    for number in (1, 2, 3):
        whole.choose(number)
        resumed.choose(number)
        assert sounds(resumed) == sounds(whole)


def test_frames_under_finished_windows_are_not_encoded(tmp_path, film):
    die(request(film), tmp_path / "p", 3)
    engine, encoded = FakeEngine(), []
    original = engine.encode_frames
    engine.encode_frames = lambda row, frames: encoded.append(len(frames)) or original(row, frames)
    dub(request(film), tmp_path / "p", engine, resume=True)
    last = dub(request(film), tmp_path / "whole", FakeEngine()).windows[-1]
    assert sum(encoded) <= 300 - last.first_frame + 64


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 6}, r"--seed was 5 and is 6"),
        ({"noise_dbfs": -40.0}, r"--noise was None and is -40.0"),
        ({"script": "other words"}, r"--script was .* and is 'other words'"),
        ({"voice": None}, r"--voice was .* and is None"),
        ({"use_speech": False, "takes": 2}, r"--no-speech was True and is False; --takes was 1 and is 2"),
        ({"sampling": {"speech_top_k": 3}}, r"--sampling was {} and is {'speech_top_k': 3}"),
    ],
)
def test_changed_arguments_are_named(tmp_path, film, changed, message):
    die(request(film), tmp_path / "p", 2)
    before = files_in(tmp_path / "p")
    with pytest.raises(UserError, match=message):
        dub(request(film, **changed), tmp_path / "p", FakeEngine(), resume=True)
    assert files_in(tmp_path / "p") == before


@pytest.mark.parametrize("name", ["film.mp4", "s.srt", "voice.wav"])
def test_changed_files_are_named(tmp_path, film, name):
    die(request(film), tmp_path / "p", 2)
    if name == "film.mp4":
        make_film(film, num_frames=301)
    elif name == "s.srt":
        (tmp_path / name).write_text(SRT.replace("you", "yes"))
    else:
        soundfile.write(tmp_path / name, 0.2 * np.sin(np.arange(16_000) / 11), 16_000)
    with pytest.raises(UserError, match=rf"\({tmp_path}/{name}\) has another content"):
        dub(request(film), tmp_path / "p", FakeEngine(), resume=True)


def test_another_checkpoint_or_decoder_is_refused(tmp_path, film):
    die(request(film), tmp_path / "p", 2)
    engine = FakeEngine()
    engine.decoder_kinds = {"speech": "flow_matching", "background": "codec"}
    with pytest.raises(UserError, match="give the same --decoder"):
        dub(request(film), tmp_path / "p", engine, resume=True)
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "params").write_text("others")
    with pytest.raises(UserError, match=r"with the checkpoint .*give the same --checkpoint"):
        dub(request(film), tmp_path / "p", FakeEngine(), resume=True)


def test_a_folder_in_use_names_resume_where_it_can_be(tmp_path, film):
    die(request(film), tmp_path / "p", 2)
    with pytest.raises(UserError, match=r"p: is in use; .*; to continue this one, add --resume"):
        Project(request(film), tmp_path / "p")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("mine")
    with pytest.raises(UserError, match=r"letters: is in use; give a new .* for the project$"):
        Project(request(film), tmp_path / "letters", resume=True)


def test_resume_of_nothing_begins(tmp_path, film):
    engine = FakeEngine()
    dub(request(film), tmp_path / "p", engine, resume=True)
    assert len(engine.calls) == NUM_WINDOWS


def test_two_processes_do_not_work_on_one_project(tmp_path, film):
    project = Project(request(film), tmp_path / "p")
    with pytest.raises(UserError, match=r"p: another process is working on this project"):
        Project(request(film), tmp_path / "p", resume=True)
    project.close()


def test_what_a_killed_process_left_half_written_is_removed(tmp_path, film):
    die(request(film), tmp_path / "p", 2)
    for name in (
        ".project.json.1234abcd.part",
        "speech.decoded",
        "takes/take_001/.window_0003.npz.01234567.part",
    ):
        (tmp_path / "p" / name).write_bytes(b"half")
    made = dub(request(film), tmp_path / "p", FakeEngine(), resume=True)
    assert made.is_finished
    # A download of the user in an otherwise empty folder is none of them.
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "film.mkv.part").write_bytes(b"half")
    with pytest.raises(UserError, match="is in use"):
        Project(request(film), tmp_path / "mine")
    assert not [path for path in files_in(tmp_path / "p") if path.endswith((".part", ".decoded"))]


def test_a_damaged_window_is_named(tmp_path, film):
    die(request(film), tmp_path / "p", 3)
    path = tmp_path / "p" / "takes" / "take_001" / "window_0002.npz"
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], b"", bytes([data[0]]) + bytes(len(data) - 1)):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"window_0002.npz: is damaged"):
            dub(request(film), tmp_path / "p", FakeEngine(), resume=True)
    shutil.copy(path.with_name("window_0001.npz"), path)  # of another length
    with pytest.raises(UserError, match=r"window_0002.npz: is damaged \(the tokens are not those of this"):
        dub(request(film), tmp_path / "p", FakeEngine(), resume=True)
    path.unlink()
    engine = FakeEngine()
    dub(request(film), tmp_path / "p", engine, resume=True)
    assert len(engine.calls) == NUM_WINDOWS - 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "dualdub project", "version": 2}'])
def test_a_damaged_document_is_named(tmp_path, film, text):
    die(request(film), tmp_path / "p", 2)
    (tmp_path / "p" / "project.json").write_text(text)
    with pytest.raises(UserError, match=r"project.json: is damaged \(.*\); restore it"):
        dub(request(film), tmp_path / "p", FakeEngine(), resume=True)


@pytest.mark.parametrize("version", [1, 3, "2"])
def test_a_project_of_another_version_is_refused(tmp_path, film, version):
    die(request(film), tmp_path / "p", 2)
    document = json.loads((tmp_path / "p" / "project.json").read_text())
    (tmp_path / "p" / "project.json").write_text(json.dumps(document | {"version": version}))
    with pytest.raises(UserError, match=rf"is of version {version} of the format and this DualDub reads"):
        dub(request(film), tmp_path / "p", FakeEngine(), resume=True)


def test_an_inaudible_script_can_be_accepted_afterwards(tmp_path, film):
    engine = FakeEngine()
    engine.can_speak = False
    with pytest.raises(UserError, match="nothing of the script is audible"):
        dub(request(film), tmp_path / "p", engine)
    made = dub(request(film, must_speak=False), tmp_path / "p", FakeEngine(), resume=True)
    assert not made.tracks["speech"][:].any() and made.tracks["background"][:].any()
