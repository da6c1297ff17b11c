"""Compiled programs are kept in the user's cache folder, unless JAX is configured otherwise."""

import jax
import pytest

from dualdub_jax.parallel.program_cache import keep_programs

DIRECTORY, ENABLED = "jax_compilation_cache_dir", "jax_enable_compilation_cache"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user's cache folder, and JAX without a cache; JAX is configured as before at the end."""
    before = {name: jax.config._read(name) for name in (DIRECTORY, ENABLED)}
    jax.config.update(DIRECTORY, None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_are_kept_in_the_users_cache_folder(home, monkeypatch):
    keep_programs()
    assert jax.config._read(DIRECTORY) == str(home / "dualdub" / "jax")
    assert (home / "dualdub" / "jax").is_dir()
    jax.config.update(DIRECTORY, None)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(home.parent))
    keep_programs()
    assert jax.config._read(DIRECTORY) == str(home.parent / ".cache" / "dualdub" / "jax")


def test_a_folder_of_the_users_own_is_left_alone(home):
    jax.config.update(DIRECTORY, "elsewhere")
    keep_programs()
    assert jax.config._read(DIRECTORY) == "elsewhere"
    assert not home.exists()


def test_a_cache_that_is_switched_off_stays_off(home):
    jax.config.update(ENABLED, False)
    keep_programs()
    assert jax.config._read(DIRECTORY) is None
    assert not home.exists()


def test_a_home_that_cannot_be_written_is_named_on_one_line(home, capsys):
    home.write_text("a file where the folder should be")
    keep_programs()
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{home}/dualdub/jax cannot be written (Not a directory)" in error
    assert "set JAX_COMPILATION_CACHE_DIR" in error
    assert jax.config._read(DIRECTORY) is None
