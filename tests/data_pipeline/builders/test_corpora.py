"""The named corpora, each on the folders and files that its authors distribute."""

import json
import pathlib

import pytest

from dualdub_jax.apps.cli import main
from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.build import build
from dualdub_jax.errors import UserError
from tests.data_pipeline.builders.corpora import build_one, clips_of, failures_of, words_of, write_sound
from tests.films import make_film


def test_libritts(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "LibriTTS_R"
    for subset, speaker, sentence in (
        ("train-clean-100", "103", 0), ("train-clean-100", "103", 1), ("dev-clean", "84", 0),
        ("test-clean", "61", 0),
    ):  # fmt: skip
        name = f"{speaker}_1240_000000_00000{sentence}"
        path = write_sound(root / subset / speaker / "1240" / f"{name}.wav", 1.2, rate_hz=24_000)
        path.with_name(f"{name}.normalized.txt").write_text(f"Sentence number {sentence}.")
        path.with_name(f"{name}.original.txt").write_text("Not looked at")
    dataset, _ = build_one("libritts", tmp_path / "out", source=root)
    assert dataset.folder == tmp_path / "out" / "libritts_r" / "1.0.0"
    assert set(dataset.splits) == {"train", "validation", "test"}
    clips = clips_of(dataset)
    assert list(clips) == [f"train-clean-100/103_1240_000000_00000{i}" for i in (0, 1)]
    first, second = clips.values()
    assert record.script(first) == "sentence number zero" and first["voice"] == second["speech"]
    assert record.text(first["licence"]) == "CC-BY-4.0" and not first["video"] and not first["background"]
    (validation,) = clips_of(dataset, "validation").values()
    assert not validation["voice"]  # of a speaker's only utterance
    only, _ = build_one("libritts", tmp_path / "out", source=root, subsets=("dev-clean",), dataset="dev")
    assert only.splits == ["validation"]
    with pytest.raises(UserError, match=r"--subset dev-other: is not in .*it has train-clean-100, dev-clean"):
        build("libritts", tmp_path / "out", source=root, subsets=("dev-other",))


def test_ljspeech(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "LJSpeech-1.1"
    for number in (1, 2):
        write_sound(root / "wavs" / f"LJ001-000{number}.wav", 1.2, rate_hz=22_050)
    (root / "metadata.csv").write_text(
        'LJ001-0001|Printing, "1" of|Printing, "one" of\nLJ001-0002|In being|In being\n'
        "LJ001-0003|gone|gone\nbad\n"
    )
    dataset, _ = build_one("ljspeech", tmp_path / "out", source=root)
    clips = clips_of(dataset)
    assert [record.script(clip) for clip in clips.values()] == ["printing one of", "in being"]
    assert clips["LJ001-0001"]["voice"] == clips["LJ001-0002"]["speech"]
    assert [line["id"] for line in failures_of(dataset)] == ["LJ001-0003", "metadata.csv line 4"]


def test_vggsound(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "VGGSound"
    (root / "video").mkdir(parents=True)
    for name in ("--0PQM4-hqg_000030", "abc_7", "x_y_1000_11000"):
        make_film(root / "video" / f"{name}.mp4", has_audio=True)
    (root / "vggsound.csv").write_text(
        '--0PQM4-hqg,30,"waterfall burbling",train\nabc,7,"dog, barking",test\nx_y,1,train horning,train\n'
        'gone,10,playing flute,train\nbad,"row\nabc,7,dog,te/st\n',
        encoding="utf-8-sig",  # as spreadsheets write it
    )
    dataset, _ = build_one("vggsound", tmp_path / "out", source=root)
    clips, tests = clips_of(dataset), clips_of(dataset, "test")
    assert list(clips) == ["--0PQM4-hqg_000030", "x_y_000001"] and list(tests) == ["abc_000007"]
    assert all(clip["background"] and clip["video"] and not clip["has_script"] for clip in clips.values())
    assert record.events(tests["abc_000007"])["labels"] == [{"class": "dog, barking"}]
    assert [line["reason"] for line in failures_of(dataset)] == ["film is not there", "bad row", "bad row"]


def test_grid(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "GRID"
    for speaker, name in (("s1", "bbaf2n"), ("s1", "sgwz9p"), ("s20", "prii1s")):
        (root / speaker).mkdir(parents=True, exist_ok=True)
        has_audio = speaker == "s20"
        suffix, codec = ("mp4", "libx264") if has_audio else ("mpg", "mpeg1video")
        make_film(root / speaker / f"{name}.{suffix}", num_frames=75, codec=codec, has_audio=has_audio)
    for name in ("bbaf2n", "sgwz9p"):
        write_sound(root / "audio_25k" / "s1" / f"{name}.wav", 2.98, rate_hz=25_000)
    (root / "alignments" / "s1").mkdir(parents=True)
    (root / "alignments" / "s1" / "bbaf2n.align").write_text(
        "0 23750 sil\n23750 29500 bin\n29500 34000 blue\n34000 35500 at\n35500 41000 f\n41000 47250 two\n"
        "47250 53000 now\n53000 74500 sil\n"
    )
    (root / "s1" / "notes.mpg").write_bytes(b"x")
    dataset, _ = build_one("grid", tmp_path / "out", source=root)
    clips = clips_of(dataset)
    assert list(clips) == ["s1/bbaf2n", "s1/sgwz9p", "s20/prii1s"]
    assert record.script(clips["s1/bbaf2n"]) == "bin blue at f two now"
    assert words_of(clips["s1/bbaf2n"])[0] == ["bin", 0.95, 1.18]
    assert record.script(clips["s1/sgwz9p"]) == "set green with z nine please"
    assert record.script(clips["s20/prii1s"]) == "place red in i one soon"
    assert all(clip["speech"] and clip["video"] for clip in clips.values())
    assert bool(clips["s1/bbaf2n"]["voice"]) and not clips["s20/prii1s"]["voice"]
    assert [line["id"] for line in failures_of(dataset)] == ["s1/notes.mpg"]


def test_exchanged_folders_of_word_times_go_to_their_speakers(tmp_path: pathlib.Path) -> None:
    """As in the archive of GRID; a sentence that both speakers have said has the times of each."""
    root = tmp_path / "GRID"
    sentences = {"s5": ("bbaf2n", "bbaf3s", "lwwz9p"), "s6": ("sgwz9p", "sgib1n", "bbaf2n")}
    texts = {
        "bbaf2n": "bin blue at f two now", "bbaf3s": "bin blue at f three soon",
        "lwwz9p": "lay white with z nine please", "sgwz9p": "set green with z nine please",
        "sgib1n": "set green in b one now",
    }  # fmt: skip
    exchanged = {"s5": "s6", "s6": "s5"}
    for number, (speaker, names) in enumerate(sentences.items()):
        for name in names:
            (root / speaker).mkdir(parents=True, exist_ok=True)
            make_film(root / speaker / f"{name}.mp4", num_frames=75, has_audio=True)
            times = root / "alignments" / exchanged[speaker] / f"{name}.align"
            times.parent.mkdir(parents=True, exist_ok=True)
            words = texts[name].split()
            starts = [(5000 * i + 2500 * number, 5000 * i + 2500 * number + 2500) for i in range(1, 7)]
            times.write_text("".join(f"{a} {b} {w}\n" for (a, b), w in zip(starts, words, strict=True)))
    clips = clips_of(build_one("grid", tmp_path / "out", source=root)[0])
    assert len(clips) == 6
    for name, clip in clips.items():
        assert words_of(clip)[0][1] == pytest.approx({"s5": 0.2, "s6": 0.3}[name.partition("/")[0]])


def _v2c(root: pathlib.Path) -> pathlib.Path:
    for who, number in (("Daddy", "0034"), ("Daddy", "0036"), ("Judy", "0001")):
        film = root / "zootopia" / "zootopia_videos" / who / f"{number}.mp4"
        film.parent.mkdir(parents=True, exist_ok=True)
        make_film(film, has_audio=True)
        if who == "Daddy":
            name = f"{who}-00-{number}"
            path = write_sound(root / "zootopia" / "zootopia_speeches" / who / "00" / f"{name}.wav", 2.0)
            path.with_name(f"{name}.normalized.txt").write_text(f"line {number}")
    return root


def test_v2c_animation(tmp_path: pathlib.Path) -> None:
    root = _v2c(tmp_path / "movie_dataset")
    dataset, _ = build_one("v2c_animation", tmp_path / "out", source=root)
    clips = clips_of(dataset)
    assert list(clips) == ["zootopia/Daddy/0034", "zootopia/Daddy/0036"]
    first, second = clips.values()
    assert first["video"] and first["speech"] and first["voice"] == second["speech"]
    assert record.events(first)["speech"]["voice_id"] == "zootopia/Daddy"
    assert [line["id"] for line in failures_of(dataset)] == ["zootopia/Judy/0001"]
    separated, _ = build_one(
        "v2c_animation", tmp_path / "out", source=root, separate="gate", min_stem_db=-200.0, dataset="b"
    )
    clip = clips_of(separated)["zootopia/Daddy/0034"]
    assert clip["speech"] and clip["background"] and clip["voice"]
    assert record.sample_rate_hz(clip["speech"], "x") == 44_100  # of the film


def test_anim400k(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "Anim400K"
    for folder in ("anim400k_video_clips/db", "anim400k_audio_clips/db"):
        (root / folder).mkdir(parents=True)
    make_film(root / "anim400k_video_clips" / "db" / "db01.mp4")
    write_sound(root / "anim400k_audio_clips" / "db" / "db01.mp3", 2.0)
    clips = [
        {"en_clip": "db/db01", "en_text": "Hello there.", "jp_clip": "ab/ab01", "speakers": ["SPEAKER_01"]},
        {"en_clip": "db/db02", "en_text": "Gone.", "speakers": []},
        {"jp_clip": "ab/ab02"},
    ]
    shows = {"a_show": {"show": "A show", "episodes": {"1": {"clips": clips}}}}
    (root / "anim400K_annotations.json").write_text(json.dumps(shows))
    dataset, _ = build_one("anim400k", tmp_path / "out", source=root)
    (clip,) = clips_of(dataset).values()
    assert record.script(clip) == "hello there" and clip["video"] and clip["speech"]
    assert record.events(clip)["language"] == "en"
    assert record.events(clip)["speech"]["voice_id"] == "a_show/1/SPEAKER_01"
    assert [line["reason"] for line in failures_of(dataset)] == ["film is not there", "has no en clip"]


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("libritts", "openslr.org/60"),
        ("ljspeech", "keithito.com"),
        ("vggsound", "robots.ox.ac.uk"),
        ("grid", "zenodo.org/records/3625687"),
        ("v2c_animation", "github.com/chenqi008/V2C"),
        ("anim400k", "github.com/DavidMChan/Anim400K"),
    ],
)
def test_a_missing_download_is_one_line(
    tmp_path: pathlib.Path, name: str, page: str, capsys: pytest.CaptureFixture
) -> None:
    for source in (tmp_path, tmp_path / "gone"):
        assert main(["data", "build", name, "--source", str(source), "--out", str(tmp_path / "out")]) == 2
        message = capsys.readouterr().err
        assert page in message and "licence: " in message and "expected " in message
        assert message.count("\n") == 1
    with pytest.raises(SystemExit):
        main(["data", "build", name, "--help"])
    assert f"dualdub data build {name} --source" in capsys.readouterr().out
