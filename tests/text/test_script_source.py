"""A script is the user's words or a file of text; other files are named for what they are."""

import codecs
import os

import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.text.script_source import INLINE, open_source


def test_text_or_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words").write_bytes(codecs.BOM_UTF8 + b"from a\r\nfile")
    assert open_source("words").text == "from a\nfile"
    assert open_source("words").name == "words"
    for text in ("words.me", "and/or", "x" * 5000, "one\ntwo.txt"):
        assert open_source(text).text == text and open_source(text).name == INLINE


@pytest.mark.parametrize("name", ["gone.txt", "gone.ass", "my film.srt", "gone.docx", "../gone", "/no/such"])
def test_a_path_that_does_not_exist(name):
    with pytest.raises(UserError, match=f"{name}: no such script file; give a path that exists"):
        open_source(name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "hi there".encode("utf-16-le"),
            "not UTF-8; it is UTF-16; save the script as UTF-8, .*iconv -f UTF-16",
        ),
        ("hi there".encode("utf-16") + b"!", "a binary file"),
        (
            "caf\u00e9 \u201cau lait\u201d".encode("cp1252"),
            r"not UTF-8 \(byte 3 is 0xe9\); perhaps it is Windows-1252",
        ),
        ("\u72ac\u3082".encode("shift-jis"), "perhaps it is another encoding; save the script as UTF-8$"),
        (b"hello\x00there", r"a binary file \(byte 5 is NUL\)"),
        (b"hello\x07there", "a binary file"),
        (b"\x00" * 99, "a binary file"),
        (bytes(range(1, 256)), "a binary file"),
        (b"", "is empty: nothing to speak; leave out --script"),
        (codecs.BOM_UTF8 + b"\n", "is empty"),
        (codecs.BOM_UTF16_LE, "is empty"),
        (b"%PDF-1.7", "a PDF document, not a script; give UTF-8 text, or subtitles: .srt, .vtt"),
        (rb"{\rtf1 hello}", "an RTF document"),
        (b"PK\x03\x04", "an office document"),
        (b"\x89PNG\r\n", "a picture"),
        (b"\x00\x00\x00 ftypisom", "a media file"),
        (b"<!DOCTYPE html><p>hi", "a web page"),
        (b"a" * 4_000_001, "larger than 4 MB"),
    ],
)
def test_what_is_no_text_is_named(tmp_path, content, message):
    path = tmp_path / "script"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        open_source(str(path))
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_name_the_encoding(tmp_path, encoding):
    path = tmp_path / "s.txt"
    path.write_bytes("Un caf\u00e9,\r\n\u201cplease\u201d".encode(encoding))
    assert open_source(str(path)).text == "Un caf\u00e9,\n\u201cplease\u201d"


@pytest.mark.parametrize("suffix", [".rtf", ".lrc", ".scc", ".fountain", ".tsv", ".docx", ".mp4"])
def test_kinds_that_are_not_read(tmp_path, suffix):
    path = tmp_path / f"s{suffix}"
    path.write_text("[00:01.00]hello")
    with pytest.raises(
        UserError, match=f"is a {suffix} file, which is not read; give UTF-8 text, or subtitles"
    ):
        open_source(str(path))


def test_a_folder_and_an_empty_device(tmp_path):
    with pytest.raises(UserError, match="is a folder, not a script"):
        open_source(str(tmp_path))
    with pytest.raises(UserError, match="is empty"):
        open_source(os.devnull)


def test_nul_in_a_text():
    with pytest.raises(UserError, match="--script: holds NUL characters"):
        open_source("a\x00b")
