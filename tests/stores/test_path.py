"""Which paths are accepted, and the errors of the others."""

import importlib.util
import os
import pathlib
import re
from fractions import Fraction

import pytest

from dualdub_jax.apps.cli import main
from dualdub_jax.checkpoints import orbax_on_stores
from dualdub_jax.errors import UserError
from dualdub_jax.stores.path import as_local_path, as_path, is_remote
from dualdub_jax.text.script import read_script


@pytest.mark.parametrize("text", ["runs/a", "/data", ".", "run:1", "puppet:finetune", "a b/ü*?.d", "./x:y/z"])
def test_local_paths_are_left_as_they_are(text):
    for path in (as_path(text), as_local_path(text), as_path(pathlib.Path(text))):
        assert path == pathlib.Path(text)
        assert not is_remote(path)


@pytest.mark.parametrize(
    "text", ["gs://films/data", "s3://films/a b/v1.0/", "gs://my-films.example.com", "s3://abc"]
)
def test_urls_of_stores_are_taken_whole(text):
    path = as_path(text)
    assert is_remote(path)
    assert str(path) == text.rstrip("/")
    assert str(path / "x" / "y").startswith(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "http://host/data",
            r"http:// is not taken; DualDub takes local paths, gs://BUCKET/… and s3://BUCKET/…",
        ),
        ("hdfs://host/data", "hdfs:// is not taken"),
        ("file:///data", "file:// is not taken"),
        ("az://films/data", "az:// is not taken"),
        ("hf://user/model", "hf:// is not taken"),
        ("gcs://films/data", "gcs:// is not taken"),
        ("runs/http://x", "neither a local path nor a URL"),
        ("gs:/films/data", "with two slashes"),
        (pathlib.Path("s3://films/data"), "in Python as a string"),
        ("gs:films/data", "with two slashes"),
        ("gs:///films", "with two slashes"),
        ("GS://films/data", "in lower case"),
        ("C:\\films", "is a Windows path"),
        ("d:/films", "is a Windows path"),
        ("gs://", "no name of a bucket"),
        ("s3://A_b/data", "no name of a bucket"),
        ("gs://films/a//b", "no folder is empty"),
        ("gs://films/../b", "no folder is empty"),
        ("s3://films/data?x", "names are without"),
        ("s3://films/*", "names are without"),
    ],
)
def test_others_are_refused_by_name(text, says):
    with pytest.raises(UserError, match=says) as error:
        as_path(text, "data_dir")
    assert str(error.value).startswith(f"data_dir={text}: ")


@pytest.mark.parametrize(("scheme", "library"), [("gs", "gcsfs"), ("s3", "s3fs")])
def test_a_missing_library_is_named_with_its_extra(scheme, library, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"needs the package {library}; pip install 'dualdub-jax\[stores\]'"):
        as_path(f"{scheme}://films/data")


def test_an_emulator_that_is_started_later_is_used(monkeypatch):
    """Otherwise tensorstore would send its requests to the service itself, again and again."""
    for name in ("STORAGE_EMULATOR_HOST", "TENSORSTORE_GCS_HTTP_URL", "GOOGLE_AUTH_TOKEN_FOR_TESTING"):
        monkeypatch.delenv(name, raising=False)
    as_path("gs://films/data")
    assert "TENSORSTORE_GCS_HTTP_URL" not in os.environ
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    for name in ("TENSORSTORE_GCS_HTTP_URL", "GOOGLE_AUTH_TOKEN_FOR_TESTING"):
        monkeypatch.setenv(name, "")  # so that it is restored
        del os.environ[name]
    as_path("gs://films/data")
    assert os.environ["TENSORSTORE_GCS_HTTP_URL"] == "http://127.0.0.1:9"


def test_an_orbax_without_the_names_for_s3_is_named(monkeypatch):
    monkeypatch.delattr(orbax_on_stores.tensorstore_utils, "_use_gcs_driver")
    with pytest.raises(UserError, match=r"lacks .*tensorstore_utils._use_gcs_driver.*orbax-checkpoint=="):
        orbax_on_stores.install.__wrapped__()


STORED = [
    ["train", "--config", "puppet", "--workdir", "URL"],
    ["train", "--config", "puppet:tiny", "--workdir", "x", "--config.data_dir=URL"],
    ["train", "--config", "puppet:tiny", "--workdir", "x", "--config.codecs_from=URL"],
    ["train", "--config", "puppet:tiny", "--workdir", "x", "--config.model.script_tokenizer=URL"],
    ["data", "build", "puppet_stage", "--out", "URL"],
    ["data", "build", "folder", "--source", "URL", "--out", "x"],
    ["data", "build", "webdataset", "--source", "URL", "--out", "x"],
    ["data", "prepare", "URL", "--config", "puppet"],
    ["data", "prepare", "x", "--config", "puppet", "--codecs-from", "URL"],
    ["data", "inspect", "URL"],
    ["data", "check", "URL", "--config", "puppet"],
    ["export", "URL", "x"],
    ["export", "x", "URL"],
    ["export", "x", "y", "--codecs-from", "URL"],
    ["dub", "film.mp4", "--checkpoint", "URL"],
    ["evaluate", "--suite", "puppet", "--checkpoint", "URL"],
    ["evaluate", "--suite", "puppet", "--against", "URL"],
    ["evaluate", "--suite", "puppet", "--casp-weights", "URL"],
]
LOCAL = [
    ["train", "--config", "URL", "--workdir", "x"],
    ["demo", "--out", "URL"],
    ["dub", "URL"],
    ["dub", "film.mp4", "--voice", "URL"],
    ["dub", "film.mp4", "-o", "URL"],
    ["dub", "film.mp4", "--project", "URL"],
    ["data", "inspect", "x", "--sheet", "URL"],
    ["evaluate", "--pairs", "URL"],
    ["evaluate", "--suite", "puppet", "--workdir", "URL"],
    ["evaluate", "--suite", "puppet", "--json", "URL"],
    ["aot", "--config", "puppet", "--topology", "v5e:4x4", "--json", "URL"],
]


@pytest.mark.parametrize("command", [*STORED, *LOCAL], ids=" ".join)
def test_every_command_refuses_another_scheme(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("film.mp4").touch()
    assert main([part.replace("URL", "ftp://host/name") for part in command]) == 2
    said = capsys.readouterr().err
    assert re.search("ftp://host/name: ftp:// is not taken|a local file, got ftp://host/name;", said)
    assert said.count("\n") == 1
    assert not pathlib.Path("ftp:").exists()


def test_the_url_of_a_script_is_not_spoken():
    with pytest.raises(UserError, match=r"--script: expected the path of a local file, got gs://films/a.txt"):
        read_script("gs://films/a.txt", Fraction(2))
    assert "for more" in read_script("see http://host for more", Fraction(2)).text


@pytest.mark.parametrize("command", LOCAL, ids=" ".join)
def test_a_store_is_refused_where_only_a_local_disk_will_do(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("film.mp4").touch()
    assert main([part.replace("URL", "gs://films/name") for part in command]) == 2
    assert "expected the path of a local file, got gs://films/name" in capsys.readouterr().err
