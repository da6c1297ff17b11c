"""A table of clips as a corpus: columns by name, any media, bad rows named, films cut with their words."""

import csv
import json
import pathlib
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from dualdub_jax.apps.cli import main
from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.build import build
from dualdub_jax.data_pipeline.dataset import Dataset
from dualdub_jax.errors import UserError
from tests.data_pipeline.builders.corpora import build_one, clips_of, failures_of, words_of, write_sound
from tests.films import make_film


def _table(path: pathlib.Path, rows: list[dict[str, Any]]) -> pathlib.Path:
    """Rows as .csv, .tsv or .jsonl."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)),
                                delimiter="\t" if path.suffix == ".tsv" else ",")  # fmt: skip
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def media(tmp_path: pathlib.Path) -> pathlib.Path:
    """A film with sound, one without, and recordings at several rates, beside the table to come."""
    make_film(tmp_path / "loud.mp4", has_audio=True)
    make_film(tmp_path / "mute.mkv", rate=30)
    write_sound(tmp_path / "stems" / "speech.wav", rate_hz=44_100, channels=2)
    write_sound(tmp_path / "stems" / "music.flac", rate_hz=96_000, pitch_hz=600)
    write_sound(tmp_path / "stems" / "voice.ogg", 12, rate_hz=8_000)
    return tmp_path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_every_column_reaches_its_record(media: pathlib.Path, suffix: str) -> None:
    row = {
        "clip_id": "one", "film": "mute.mkv", "speech": "stems/speech.wav", "bgm": "stems/music.flac",
        "reference": str(media / "stems" / "voice.ogg"), "Transcript": "Hello, World: it's 42!",
        "speaker": "ann", "lang": "en-GB", "license": "CC-BY-4.0", "split": "dev",
    }  # fmt: skip
    dataset, _ = build_one("manifest", media / "out", source=_table(media / f"clips{suffix}", [row]))
    assert dataset.splits == ["validation"]
    clip = clips_of(dataset, "validation")["one"]
    assert record.script(clip) == "hello world it's forty two"
    assert record.written_script(clip, "x") == "Hello, World: it's forty two!"
    assert record.text(clip["licence"]) == "CC-BY-4.0" and abs(clip["duration_s"] - 50 / 30) < 1e-3
    assert record.sample_rate_hz(clip["speech"], "x") == 44_100
    assert record.sample_rate_hz(clip["background"], "x") == 48_000
    assert len(record.decode_voice(clip["voice"], "x", 8_000)) == 80_000  # 10 s at most
    events = record.events(clip)
    assert events["speech"]["voice_id"] == "ann" and events["language"] == "en-GB"


def test_columns_are_named_by_the_user_and_sound_without_stems_is_a_stem(media: pathlib.Path) -> None:
    rows = [
        {"A": "loud.mp4", "B": "say this", "C": "keep"},
        {"A": "loud.mp4", "B": "", "C": ""},
        {"A": "stems/speech.wav", "B": "say that", "C": ""},
    ]
    table = _table(media / "t.csv", rows)
    dataset, _ = build_one("manifest", media / "out", source=table, columns=("file=A", "text=B", "id=C"))
    clips = clips_of(dataset)
    assert list(clips) == ["keep", "loud.mp4", "stems/speech.wav"]
    parts = {
        name: [field for field in ("video", "speech", "background") if clip[field]]
        for name, clip in clips.items()
    }
    assert parts == {
        "keep": ["video", "speech"], "loud.mp4": ["video", "background"], "stems/speech.wav": ["speech"],
    }  # fmt: skip
    assert not clips["loud.mp4"]["has_script"]


def test_bad_rows_are_listed_and_the_others_kept(media: pathlib.Path) -> None:
    (media / "broken.mp4").write_bytes(b"nothing at all")
    table = media / "clips.csv"
    table.write_text(
        "id,video,start,end,words,licence\n"
        "good,loud.mp4,,,,CC0-1.0\n"
        "gone,gone.mp4,,,,CC0-1.0\n"
        "broken,broken.mp4,,,,CC0-1.0\n"
        "good,mute.mkv,,,,CC0-1.0\n"
        "late,loud.mp4,one,,,CC0-1.0\n"
        "back,loud.mp4,2,1,,CC0-1.0\n"
        "beyond,loud.mp4,60,,,CC0-1.0\n"
        'words,loud.mp4,,,"[[""a"", 2, 1]]",CC0-1.0\n'
        "short\n"
        "none,,,,,CC0-1.0\n"
        "secret,loud.mp4,,,,unknown\n"
    )
    dataset, printed = build_one("manifest", media / "out", source=table, licence_allow=("CC0-1.0",))
    assert list(clips_of(dataset)) == ["good"]
    failures = {line["id"]: line for line in failures_of(dataset)}
    stages = {name: line["stage"] for name, line in failures.items()}
    assert stages == {
        "gone": "open", "broken": "open", "good": "manifest", "row 5": "manifest", "row 6": "manifest",
        "beyond": "cut", "row 8": "manifest", "row 9": "manifest", "row 10": "manifest", "secret": "licence",
    }  # fmt: skip
    assert failures["gone"]["detail"].startswith("gone.mp4: no such file")
    assert "expected [[text, start_s, end_s], …]" in failures["row 8"]["detail"]
    assert failures["row 9"]["detail"] == "has 1 cells, and the header 6"
    assert failures["secret"]["reason"] == "licence unknown is not allowed"
    assert dataset.metadata["dropped"]["bad row"] == 5
    summary = dataset.metadata["summary"]
    assert (
        summary["kept"] == 1
        and summary["dropped"] == 10
        and summary["hours_by_licence"] == {"CC0-1.0": 0.0006}
    )
    assert "clips: kept 1 clips" in printed


def test_json_lines_that_are_bad_and_an_empty_text(media: pathlib.Path) -> None:
    table = media / "clips.jsonl"
    lines = [{"audio": "stems/speech.wav", "text": ""}, {"audio": "stems/speech.wav", "text": 7}, [1]]
    table.write_text("\n".join([*map(json.dumps, lines), "{", '{"audio": {"bytes": 1}}']))
    dataset, _ = build_one("manifest", media / "out", source=table)
    (clip,) = clips_of(dataset).values()
    assert record.script(clip) == "" and clip["background"]
    assert [line["id"] for line in failures_of(dataset)] == ["row 2", "row 3", "row 4", "row 5"]


def test_no_cell_stops_a_build(media: pathlib.Path) -> None:
    said = {"speech": "stems/speech.wav", "text": "hello"}
    rows = {
        "evil": {"split": "../evil"},
        "all": {"split": "all"},
        "long": {"split": "x" * 300},
        "far": {"start": 1e300, "end": 2e300},
        "late": {"words": [["hello", 0.1, 1e300]]},
        "half": {"speaker": "\ud800"},
        "lines": {"licence": "CC0-1.0\nCC-BY-4.0"},
        "nul": {"video": "loud\0.mp4"},
        "path": {"video": "a" * 5000},
        "after": {"start": 60},
    }
    table = [{"id": name, **said, **row} for name, row in rows.items()]
    table += [
        {"id": "a\0b", **said},
        {"id": "named", **said, "split": "Train Set"},
        {"id": "wörter", **said, "text": "eins\0zwei", "language": "de", "split": "dev"},
    ]
    dataset, _ = build_one("manifest", media / "out", source=_table(media / "clips.jsonl", table))
    assert dataset.splits == ["validation", "train_set"]
    (clip,) = clips_of(dataset, "validation").values()
    assert record.script(clip) == "eins zwei" and record.text(clip["id"]) == "wörter"
    details = {line["id"]: line["detail"] for line in failures_of(dataset)}
    assert len(details) == 11
    assert details["row 1"].startswith("its split is '../evil', expected train, validation, test or")
    assert details["row 4"] == "its start is 1e+300, expected seconds"
    assert details["row 6"] == "has half of a surrogate pair"
    assert details["row 7"].endswith("which has control characters")
    assert "null byte" in details["nul"] and "name too long" in details["path"]
    assert details["after"] == "from 60 s on, and it ends at 2.00 s"


def test_untimed_texts_of_media_that_are_cut_off_are_dropped(media: pathlib.Path) -> None:
    make_film(media / "whole.mkv", num_frames=75, has_audio=True)
    write_sound(media / "whole.flac")
    write_sound(media / "whole.wav")
    for suffix in ("mkv", "flac", "wav"):
        content = (media / f"whole.{suffix}").read_bytes()
        (media / f"cut.{suffix}").write_bytes(content[: len(content) * 2 // 3])
    files = [f"{name}.{suffix}" for name in ("whole", "cut") for suffix in ("mkv", "flac", "wav")]
    words = [["hello", 0.1, 0.4], ["there", 1.2, 1.4]]
    rows = [{"id": file, "file": file, "text": "hello there"} for file in files]
    rows += [
        {"id": "untold", "file": "cut.mkv"},
        {"id": "timed", "file": "cut.flac", "words": words},
        {"id": "part", "file": "cut.mkv", "text": "hello", "end": 1},
    ]
    dataset, _ = build_one("manifest", media / "out", source=_table(media / "c.jsonl", rows), val_share=0)
    kept = ["part", "timed", "untold", "whole.flac", "whole.mkv", "whole.wav"]
    assert sorted(clips_of(dataset)) == kept
    assert {line["id"]: line["reason"] for line in failures_of(dataset)} == dict.fromkeys(
        files[3:], "is cut off, and its text is not"
    )


def test_a_part_of_a_film_is_taken_with_its_own_times(media: pathlib.Path) -> None:
    make_film(media / "long.mp4", num_frames=250)
    words = [["zero", 0.5, 1.0], ["four", 4.2, 4.6], ["five", 5.1, 5.4], ["nine", 9.0, 9.5]]
    row = {"video": "long.mp4", "start": "0:04", "end": 6.5, "words": json.dumps(words)}
    dataset, _ = build_one("manifest", media / "out", source=_table(media / "clips.csv", [row]))
    (clip,) = clips_of(dataset).values()
    assert clip["duration_s"] == 2.5 and record.script(clip) == "four five"
    assert words_of(clip) == [["four", 0.2, 0.6], ["five", 1.1, 1.4]]


def test_long_clips_are_cut_in_pauses_and_scripts_with_them(tmp_path: pathlib.Path) -> None:
    pauses = ((2.6, 2.9), (3.3, 3.4), (6.2, 6.8))
    write_sound(tmp_path / "a.wav", 9.5, silences_s=pauses)
    words = [["one", 0.2, 2.6], ["two", 2.9, 3.3], ["three", 3.4, 6.2], ["four", 6.8, 9.0]]
    row = {"speech": "a.wav", "text": "One, two, Three. Four!", "words": json.dumps(words)}
    dataset, _ = build_one("manifest", tmp_path / "out", source=_table(tmp_path / "clips.csv", [row]))
    clips = list(clips_of(dataset).values())
    assert [record.script(clip) for clip in clips] == ["one", "two three", "four"]
    assert [record.written_script(clip, "x") for clip in clips] == ["One,", "two, Three.", "Four!"]
    ends = np.cumsum([clip["duration_s"] for clip in clips])
    assert 2.6 <= ends[0] <= 2.9 and 6.2 <= ends[1] <= 6.8 and ends[2] == pytest.approx(9.5)
    stems = [record.decode_stem(c["speech"], "x", c["duration_s"], 16_000) for c in clips]
    whole, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    np.testing.assert_allclose(np.concatenate(stems)[: len(whole)], whole[: sum(map(len, stems))], atol=1e-3)
    assert words_of(clips[1])[0][1] == pytest.approx(2.9 - ends[0], abs=1e-3)
    dataset, _ = build_one("manifest", tmp_path / "equal", source=tmp_path / "clips.csv", cut="equal")
    assert " ".join(record.script(clip) for clip in clips_of(dataset).values()) == "one two three four"


def test_scripts_that_cannot_be_cut_are_dropped_by_name(tmp_path: pathlib.Path) -> None:
    write_sound(tmp_path / "a.wav", 9.0)
    rows = [
        {"id": "untimed", "speech": "a.wav", "text": "all of this", "words": ""},
        {"id": "endless", "speech": "a.wav", "text": "a b", "words": '[["a", 0.5, 5.5], ["b", 6, 7]]'},
        {"id": "marks", "speech": "a.wav", "text": "!!!", "words": ""},
    ]
    dataset, printed = build_one("manifest", tmp_path / "out", source=_table(tmp_path / "c.csv", rows))
    assert [record.script(clip) for clip in clips_of(dataset).values()] == ["b"]
    assert [(line["id"], line["reason"]) for line in failures_of(dataset)] == [
        ("untimed", "script without word times is longer than a clip"),
        ("endless at 0.00 s", "a word is longer than a clip"),
        ("marks", "its text has no words"),
    ]
    assert "endless at 0.00 s: dropped: a word is longer than a clip" in printed


def test_speakers_lend_each_other_voices(tmp_path: pathlib.Path) -> None:
    for number in range(4):
        write_sound(tmp_path / f"{number}.wav", 1.5, pitch_hz=200 + 100 * number)
    rows = [{"speech": f"{n}.wav", "text": "hello", "speaker": "solo" if n == 3 else "ann"} for n in range(4)]
    dataset, _ = build_one("manifest", tmp_path / "out", source=_table(tmp_path / "c.csv", rows))
    clips = clips_of(dataset)
    for own, other in (("0.wav", "1.wav"), ("1.wav", "2.wav"), ("2.wav", "0.wav")):
        assert clips[own]["voice"] == clips[other]["speech"]
    assert not clips["3.wav"]["voice"]
    assert dataset.metadata["summary"]["speakers"] == 2


def test_a_film_is_cut_where_its_shots_change(tmp_path: pathlib.Path) -> None:
    make_film(tmp_path / "a.mp4", num_frames=150, size=(64, 48), left=0)
    make_film(tmp_path / "b.mp4", num_frames=65, size=(64, 48), left=250, noise=True)
    _join(tmp_path / "film.mp4", tmp_path / "b.mp4", tmp_path / "a.mp4")
    row = [{"video": "film.mp4"}]
    dataset, _ = build_one("manifest", tmp_path / "out", source=_table(tmp_path / "c.csv", row))
    lengths = [clip["duration_s"] for clip in clips_of(dataset).values()]
    assert lengths[0] == pytest.approx(65 / 25, abs=0.001)
    assert max(lengths) <= 4.0 and sum(lengths) == pytest.approx(215 / 25, abs=0.5)


def _join(path: pathlib.Path, *films: pathlib.Path) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for film in films:
            with av.open(str(film)) as container:
                for picture in container.decode(video=0):
                    out.mux(stream.encode(av.VideoFrame.from_ndarray(picture.to_ndarray(format="rgb24"))))
        out.mux(stream.encode())


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (None, {}, "clips.csv: no such file"),
        ("video\n", {}, "clips.csv: has no rows"),
        ("a,b\n1,2\n", {}, "no column of media among a, b; name one, such as --column video=a"),
        ("video\na.mp4\n", {"columns": ("text=words",)}, "there is no such column; it has video"),
        ("video\na.mp4\n", {"columns": ("txt=video",)}, "--column txt=video: expected USE=COLUMN"),
        ("video\na.mp4\n", {"clip_s": 0.1}, "--clip-s 0.1: expected 1 s or more"),
        ("video\na.mp4\n", {"separate": "audio-separator"}, "needs --separator-model FILE"),
    ],
)
def test_bad_tables_and_options_are_named(
    tmp_path: pathlib.Path, text: str | None, options: dict, message: str
) -> None:
    if text is not None:
        (tmp_path / "clips.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        build("manifest", tmp_path / "out", source=tmp_path / "clips.csv", **options)


def test_the_command_builds_and_builds_nothing_twice(
    media: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    _table(media / "My clips.csv", [{"video": "loud.mp4", "caption": "hi there"}])
    argv = ["data", "build", "manifest", "--source", str(media / "My clips.csv"), "--out", str(media / "out"),
            "--processes", "1", "--column", "text=caption", "--val-share", "0"]  # fmt: skip
    assert main(argv) == 0 and main(argv) == 0
    assert "already built" in capsys.readouterr().err
    (clip,) = Dataset(media / "out" / "my_clips" / "1.0.0").records("train")
    assert record.script(clip) == "hi there"
    assert main([*argv, "--clip-s", "3"]) == 2
    assert "holds a build with other settings" in capsys.readouterr().err


def test_sound_that_is_no_sound_is_named(tmp_path: pathlib.Path) -> None:
    """Not-a-number samples in a stem or a voice, and a text whose speech is digital silence."""
    for name, value in (("nan", np.nan), ("infinite", np.inf)):
        samples = np.where(np.arange(32_000) < 20_000, 0.1, value).astype(np.float32)
        soundfile.write(tmp_path / f"{name}.wav", samples, 16_000, subtype="FLOAT")
    write_sound(tmp_path / "said.wav")
    write_sound(tmp_path / "silent.wav", level=0.0)
    rows = [
        {"id": "nan", "speech": "nan.wav", "text": "hello", "voice": "", "background": ""},
        {"id": "infinite", "background": "infinite.wav"},
        {"id": "voice", "speech": "said.wav", "text": "hello", "voice": "nan.wav"},
        {"id": "mute", "speech": "silent.wav", "text": "hello"},
        {"id": "quiet", "background": "silent.wav"},
        {"id": "said", "speech": "said.wav", "text": "hello"},
    ]
    dataset, _ = build_one("manifest", tmp_path / "out", source=_table(tmp_path / "clips.csv", rows))
    assert list(clips_of(dataset)) == ["quiet", "said"]
    reasons = {line["id"]: (line["reason"], line["detail"]) for line in failures_of(dataset)}
    not_numbers = "its sound holds samples that are not numbers"
    assert reasons == {
        "nan": ("cannot be read", not_numbers),
        "infinite": ("cannot be read", not_numbers),
        "voice": ("cannot be read", not_numbers),
        "mute": ("has a text, and its speech is silent", ""),
    }
