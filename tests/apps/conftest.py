"""Fixtures of the command line's tests."""

import pathlib

import pytest

import dualdub_jax
from dualdub_jax.dubbing.dub import DualDub
from tests.fake_engine import FakeEngine


@pytest.fixture
def engine(monkeypatch, tmp_path) -> FakeEngine:
    """The command line with a stand-in for the model, in an empty folder."""
    fake = FakeEngine()
    monkeypatch.setattr(dualdub_jax, "load", lambda path=None, **_: DualDub(fake, pathlib.Path("fake")))
    monkeypatch.chdir(tmp_path)
    return fake
