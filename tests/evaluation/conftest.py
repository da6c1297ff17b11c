"""Fixtures of the evaluation's tests."""

import pathlib

import pytest

from tests.evaluation.tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A checkpoint, shared by all tests: do not write to it."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
