"""Tar shards as a corpus: braces, samples and their suffixes, damage named, shards on a store."""

import io
import json
import pathlib
import tarfile
from collections.abc import Mapping

import pytest

from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.build import build
from dualdub_jax.data_pipeline.builders.clips.shard_names import expand_braces, find_shards
from dualdub_jax.errors import UserError
from tests.data_pipeline.builders.corpora import build_one, clips_of, failures_of, words_of, write_sound
from tests.films import make_film


def _shard(path: pathlib.Path, members: Mapping[str, bytes]) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def shards(tmp_path: pathlib.Path) -> pathlib.Path:
    """Two shards of three good samples and some bad ones; a third one that is cut off."""
    film = make_film(tmp_path / "film.mp4", has_audio=True).read_bytes()
    sound = write_sound(tmp_path / "a.wav", 1.5, rate_hz=22_050, channels=2).read_bytes()
    facts = {"words": [["hi", 0.2, 0.5]], "speaker": "ann", "license": "CC0-1.0", "split": "train"}
    _shard(tmp_path / "shards" / "train-000.tar", {
        "a/0001.mp4": film, "a/0001.cls": b"7",
        "a/0001.json": json.dumps({"license": "CC-BY-4.0", "video": "x.avi"}).encode(),
        "a/0002.speech.wav": sound, "a/0002.json": json.dumps(facts).encode(),
        "a/0003.json": b"{",
        "a/0004.txt": b"only text",
    })  # fmt: skip
    _shard(tmp_path / "shards" / "train-001.tar", {
        "b.flac": sound, "b.txt": b"Hello!\n", "b.voice.wav": sound, "c.mp4": b"no film", "c.txt": b"x",
    })  # fmt: skip
    whole = (tmp_path / "shards" / "train-001.tar").read_bytes()
    (tmp_path / "shards" / "train-002.tar").write_bytes(whole[: len(sound) // 2])
    return tmp_path / "shards"


def test_samples_become_records(shards: pathlib.Path, tmp_path: pathlib.Path) -> None:
    dataset, _ = build_one("webdataset", tmp_path / "out", source=f"{shards}/train-{{000..001}}.tar")
    assert dataset.folder == tmp_path / "out" / "shards" / "1.0.0"
    clips = clips_of(dataset)
    clips = {name.partition("/")[2]: clip for name, clip in clips.items()}
    assert list(clips) == ["a/0001", "a/0002", "b"]
    assert clips["a/0001"]["video"] and clips["a/0001"]["background"]
    assert record.text(clips["a/0001"]["licence"]) == "CC-BY-4.0"
    assert record.script(clips["a/0002"]) == "hi" and words_of(clips["a/0002"]) == [["hi", 0.2, 0.5]]
    assert record.script(clips["b"]) == "hello" and clips["b"]["speech"] and clips["b"]["voice"]
    assert [(line["id"], line["stage"]) for line in failures_of(dataset)] == [
        ("train-000/a/0003", "index"), ("train-000/a/0004", "index"), ("train-001/c", "open")
    ]  # fmt: skip
    assert failures_of(dataset)[2]["detail"].startswith("c.mp4: not a media file")
    assert failures_of(dataset)[1]["detail"].endswith("such as KEY.mp4 or KEY.wav, only 0004.txt")


def test_a_shard_that_is_cut_off_is_named_and_the_others_are_kept(
    shards: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    dataset, _ = build_one("webdataset", tmp_path / "out", source=shards)
    assert len(clips_of(dataset)) == 3
    assert {line["id"] for line in failures_of(dataset)} >= {"train-000/a/0003", "train-001/c"} and any(
        "train-002.tar" in line["id"] + line["detail"] for line in failures_of(dataset)
    )


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("a", ["a"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("x{008..010}.tar", ["x008.tar", "x009.tar", "x010.tar"]),
        ("{a,b}/{1..2}", ["a/1", "a/2", "b/1", "b/2"]),
        ("{2..0}", ["2", "1", "0"]),
    ],
)
def test_braces(text: str, expanded: list[str]) -> None:
    assert expand_braces(text) == expanded


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("shards/train-{000..009}.tar", r"train-003.tar: no such shard \(7 of 10 are missing\)"),
        ("shards/{x}.tar", r"shards/{x}.tar: no such shard \(1 of 1"),
        ("gone", "gone: no such shard"),
        ("shards/*.zip", r"no .tar file there"),
    ],
)
def test_bad_sources_are_named(
    shards: pathlib.Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    monkeypatch.chdir(shards.parent)
    with pytest.raises(UserError, match=message):
        build("webdataset", "out", source=source)


def test_names_with_wildcards_and_brackets(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one [v1]", "two {a}"):
        (tmp_path / name).mkdir()
        for number in range(2):
            (tmp_path / name / f"{number:03d}.tar").touch()
    for text, found in {
        "one [v1]": ["one [v1]/000.tar", "one [v1]/001.tar"],
        "one [v1]/*.tar": ["one [v1]/000.tar", "one [v1]/001.tar"],
        "two {a}/{000..001}.tar": ["two {a}/000.tar", "two {a}/001.tar"],
        "*/?01.tar": ["one [v1]/001.tar", "two {a}/001.tar"],
        f"{tmp_path}/t*/{{000,001}}.tar": [f"{tmp_path}/two {{a}}/000.tar", f"{tmp_path}/two {{a}}/001.tar"],
        "three*/*.tar": [],
    }.items():
        assert [str(path) for path in find_shards(text)] == found, text
