"""`dualdub data check`: every record that a config cannot take, with its reason; damaged datasets."""

import json

import pytest

from dualdub_jax.apps.cli import main
from tests.labelled_clips import labelled_record, write_clips
from tests.tiny_dataset import film_bytes, sine_flac

BAD = {
    "film": {"video": b"garbage"},
    "film_end": {"video": film_bytes(10), "duration_s": 2.0, "has_script": False, "script": "",
                 "speech": sine_flac(32_000, 300.0), "background": sine_flac(32_000, 300.0)},
    "speech": {"speech": b"garbage"},
    "background": {"background": sine_flac(999, 300.0)},
    "voice": {"voice": sine_flac(100, 300.0)},
    "script": {"script": "say " * 60},
    "duration": {"duration_s": 0.0},
    "words": {"events": '{"speech": {"words": [["say"]]}}'},
}  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "config.py"
    file.write_text(
        "from tests.curriculum.preflight.test_run import config_of\n"
        "def get_config():\n    return config_of('data')\n"
    )
    return str(file)


def test_all_bad_records_are_listed_and_counted(tmp_path, config, capsys):
    good = [labelled_record(f"good_{i}") for i in range(3)]
    write_clips(tmp_path, [*good, *(labelled_record(name, **fields) for name, fields in BAD.items())])
    report = tmp_path / "check.json"
    assert main(["data", "check", str(tmp_path), "--config", config, "--json", str(report)]) == 2
    output = capsys.readouterr()
    assert f"{len(BAD)} of {len(BAD) + 3} records cannot be used" in output.err
    for name in BAD:
        assert output.out.count(f"clips:{name}: ") == 1
    found = json.loads(report.read_text())["splits"]["clips/train"]
    reasons = {row["id"]: row["reason"] for row in found["bad"]}
    assert reasons.keys() == {f"clips:{name}" for name in BAD}
    assert reasons["clips:film_end"].startswith("its video ends at")
    assert sum(found["reasons"].values()) == len(BAD)
    assert found["labels"]["word times"] == 3


def test_a_sound_dataset_is_status_0(tmp_path, config, capsys):
    write_clips(tmp_path, [labelled_record("x")], "other")
    assert main(["data", "check", str(tmp_path), "--config", config]) == 0
    printed = capsys.readouterr().out
    assert "other/train: is in no mixture of the config; checked for example" in printed
    assert "other/train: 1 records, 0 cannot be used" in printed


def test_damaged_datasets_do_not_hide_others(tmp_path, config, capsys):
    (file,) = write_clips(tmp_path, [labelled_record("x")], "first").glob("*train*array_record*")
    file.write_bytes(b"")
    write_clips(tmp_path, [labelled_record("x", video=b"garbage")], "second")
    assert main(["data", "check", str(tmp_path), "--config", config]) == 2
    output = capsys.readouterr()
    assert f"first: its file {file} is empty" in output.err
    assert "second:x: its video cannot be decoded" in output.out
