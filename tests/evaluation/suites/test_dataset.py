"""One's own dataset as a suite."""

import contextlib
import json

import pytest

from dualdub_jax.apps.cli import main
from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.suites.dataset import DatasetSuite
from dualdub_jax.stores.path import as_path
from tests.evaluation.run.test_command import fails
from tests.films import make_film


@pytest.fixture
def data(tiny_data_dir):
    return as_path(f"{tiny_data_dir}/tiny_films/soundtrack")


def _long_enough(suite):
    """Ids of clips; some of the tiny dataset are shorter than a film may be."""
    usable = []
    for clip_id in suite.ids:
        with contextlib.suppress(UserError):
            suite.load(clip_id)
            usable.append(clip_id)
    return usable


def test_records_are_films_with_their_truth(data, tmp_path):
    suite = DatasetSuite(data, tmp_path, split="train", group_by="acoustics")
    first, second = _long_enough(suite)[:2]
    found = suite.load(first)
    clip = found.clip
    assert clip.load_frames().shape[0] == clip.num_frames > 12
    assert len(clip.true_speech) == len(clip.true_background) == clip.num_samples
    assert clip.text.startswith("say") and clip.voice is not None and clip.world is None
    assert clip.group == suite.load(second).clip.group == "{'rt60_s': 0.3, 'noise_dbfs': -50.0}"
    again = DatasetSuite(data, tmp_path, split="train", group_by="acoustics").load(first)
    assert again.fingerprint() == found.fingerprint() and again.video == found.video
    two, three = (DatasetSuite(data, tmp_path, split="train", limit=n).ids for n in (2, 3))
    assert len(two) == 2 and set(two) < set(three) < set(suite.ids)


def test_a_record_without_video_is_named_and_the_others_are_evaluated(tiny_data_dir, tmp_path):
    suite = DatasetSuite(as_path(f"{tiny_data_dir}/tiny_films/text_speech"), tmp_path, split="test")
    with pytest.raises(UserError, match=r"tiny_films/text_speech:.*: has no video"):
        suite.load(suite.ids[0])


def test_bad_usage(data, tiny_data_dir, tmp_path, capsys):
    given = ["--suite", "dataset", "--workdir", tmp_path / "w"]
    assert "--suite dataset: give --data DIR" in fails(capsys, *given)
    assert "no dataset there" in fails(capsys, *given, "--data", tmp_path)
    assert "datasets; name one of them" in fails(capsys, *given, "--data", tiny_data_dir)
    assert "--split tset: tiny_films/soundtrack has no such split; it has" in fails(
        capsys, *given, "--data", data, "--split", "tset"
    )
    assert "--data: does not apply to --suite puppet" in fails(
        capsys, "--suite", "puppet", "--data", data, "--workdir", tmp_path / "w"
    )
    suite = DatasetSuite(data, tmp_path, split="train", group_by="mood")
    with pytest.raises(UserError, match=r"--group-by mood: .* no text field and no annotation"):
        suite.load(_long_enough(DatasetSuite(data, tmp_path, split="train"))[0])


def test_films_of_ones_own_from_folder_to_figures(tiny_bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "films").mkdir()
    for name in ("a.mp4", "b.mp4"):
        make_film(tmp_path / "films" / name, num_frames=40, has_audio=True)
    assert main(["data", "build", "folder", "--source", "films", "--out", "data"]) == 0
    (split,) = [s for s in ("train", "validation", "val") if s in capsys.readouterr().out][:1] or ["train"]
    argv = ["evaluate", "--suite", "dataset", "--data", "data", "--split", split, "--limit", "1",
            "--checkpoint", str(tiny_bundle), "--metrics", "duration", "--json", "r.json"]  # fmt: skip
    assert main(argv) == 0
    results = json.loads((tmp_path / "r.json").read_text())
    assert results["suite"] == "dataset" and results["num_scored"] == 1
    assert set(results["clips"][0]["files"]["background"]) == {"ours", "true", "codec"}
    assert results["metrics"]["duration_error_samples"]["value"] == 0
