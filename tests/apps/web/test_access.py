"""Who may use the page, and what the command refuses."""

import asyncio
import importlib.util
import socket

import pytest

from dualdub_jax.apps.cli import main
from dualdub_jax.apps.web import access
from dualdub_jax.apps.web.access import make_login
from dualdub_jax.errors import UserError


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_this_machine_alone_needs_no_password(host):
    assert make_login(host, None, None) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", ""])
def test_others_need_one(host):
    with pytest.raises(UserError, match="so a password is needed; add --password, or --auth-file"):
        make_login(host, None, None)


def test_a_password_opens_under_any_name(monkeypatch):
    monkeypatch.setattr(access, "_FAILED_LOGIN_S", 0)
    login = make_login("0.0.0.0", "sésame", None)
    assert asyncio.run(login("anybody", "sésame"))
    assert not asyncio.run(login("anybody", "sesame"))
    assert not asyncio.run(login("anybody", ""))


def test_names_have_their_own_passwords(monkeypatch, tmp_path):
    monkeypatch.setattr(access, "_FAILED_LOGIN_S", 0)
    (tmp_path / "users.txt").write_text("# ours\nmary:one:two\n\njohn: three \n")
    login = make_login("0.0.0.0", None, tmp_path / "users.txt")
    good = [("mary", "one:two"), ("john", "three")]
    bad = [("mary", "three"), ("nobody", ""), ("", ""), ("# ours", "")]
    assert all(asyncio.run(login(*pair)) for pair in good)
    assert not any(asyncio.run(login(*pair)) for pair in bad)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "users.txt: cannot be read"),
        (b"", "users.txt: holds no line NAME:PASSWORD"),
        (b"mary", "users.txt: line 1 is not NAME:PASSWORD"),
        (b"mary:a\n:b", "users.txt: line 2 is not NAME:PASSWORD"),
        (b"mary:", "users.txt: line 1 is not NAME:PASSWORD"),
        (b"\xff\xfe\x00", "users.txt: cannot be read (it is not UTF-8)"),
    ],
)
def test_bad_files_of_passwords(tmp_path, content, message):
    if content is not None:
        (tmp_path / "users.txt").write_bytes(content)
    with pytest.raises(UserError) as caught:
        make_login("127.0.0.1", None, tmp_path / "users.txt")
    assert message in str(caught.value)


def _fails(capsys, *argv: str) -> str:
    assert main(["web", *argv]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_bad_options_of_the_command(engine, capsys, monkeypatch):
    monkeypatch.delenv("DUALDUB_WEB_PASSWORD", raising=False)
    assert "--host 0.0.0.0: other machines reach" in _fails(capsys, "--host", "0.0.0.0")
    assert "--password: is empty" in _fails(capsys, "--host", "0.0.0.0", "--password", "")
    assert "give one of them" in _fails(capsys, "--password", "a", "--auth-file", "b")
    assert "--port" in _fails(capsys, "--port", "70000")
    assert "--max-length" in _fails(capsys, "--max-length", "0")
    assert "no such address" in _fails(capsys, "--host", "no.such.host.invalid", "--password", "a")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert f"--port {port}: 127.0.0.1 cannot be listened on" in _fails(capsys, "--port", port)


def test_without_gradio_the_command_says_how_to_get_it(engine, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "gradio" else find(name, *a)
    )
    assert "pip install 'dualdub-jax[web]'" in _fails(capsys)
