"""Scripts: from what people write to what the model can say."""

from fractions import Fraction

import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.text.script import join_words, normalise, read_script

TEN_S = Fraction(10)

SRT = """1
00:00:00,500 --> 00:00:02,000
<i>Hello</i> there,
rabbit number 2!

2
00:00:03,000 --> 00:00:04,500
It's {\\an8}me.
"""

VTT = """WEBVTT

00:00.500 --> 00:02.000
Hello there &amp; goodbye

00:03.000 --> 00:04.500
<v Ann>It's me
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Lay BLUE at e, nine soon!", "lay blue at e nine soon"),
        ("Don\u2019t  stop\n\tnow", "dont stop now"),
        ("Café naïve Œuvre Straße", "cafe naive oeuvre strasse"),
        ("7 of 42", "seven of forty two"),
        ("1,234 and 3.05", "one thousand two hundred thirty four and three point zero five"),
        ("1,2,3", "one two three"),
        ("007 10000000000", "zero zero seven one zero zero zero zero zero zero zero zero zero zero"),
        ("2000000 19", "two million nineteen"),
        ("R&D: 50% @ home", "r and d fifty percent at home"),
        ("well-known (“quoted”) — yes…", "well known quoted yes"),
        ("soft\u00adhyphen zero\u200bwidth", "softhyphen zerowidth"),
        ("", ""),
        (" \n . ! ", ""),
    ],
)
def test_normalise(text, said):
    words, unspoken = normalise(text)
    assert join_words(words) == said
    assert unspoken == ()


def test_unspeakable_characters_are_named_once():
    words, unspoken = normalise("say ☃ or 犬 or ☃ €")
    assert join_words(words) == "say or or"
    assert unspoken == ("☃", "犬", "€")
    script = read_script("say ☃ or 犬", TEN_S)
    assert script.warnings == ("--script: dropped characters that cannot be spoken: ☃ 犬",)


def test_nothing_that_can_be_spoken_is_an_error():
    with pytest.raises(
        UserError, match=r"--script: nothing in it can be spoken .*; write it in Latin letters"
    ):
        read_script("犬も歩けば", TEN_S)


def test_sentences_are_remembered():
    words, _ = normalise("One two. Three! four")
    assert [word.ends_sentence for word in words] == [False, True, True, False]


def test_endless_words_can_be_divided():
    words, _ = normalise("a" * 101 + " end")
    assert join_words(words) == "a" * 101 + " end"
    assert max(len(word.text) for word in words) <= 5
    assert len(normalise("antidisestablishment")[0]) == 1


def test_text_or_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.md").write_text("from a file")
    assert read_script("words.md", TEN_S).text == "from a file"
    assert read_script("words.me", TEN_S).text == "words me"
    assert read_script("x" * 5000, TEN_S).num_characters == 5000  # too long for a file's name
    with pytest.raises(UserError, match=r"gone.txt: no such script file; give a path that exists"):
        read_script("gone.txt", TEN_S)


def test_byte_order_mark_is_accepted(tmp_path):
    path = tmp_path / "s.txt"
    path.write_bytes(b"\xef\xbb\xbfhello")
    assert read_script(str(path), TEN_S).text == "hello"


@pytest.mark.parametrize("name", ["s.txt", "s.srt", "s.vtt"])
def test_not_utf8_names_the_byte(tmp_path, name):
    path = tmp_path / name
    path.write_bytes("caf\u00e9".encode("latin-1"))
    with pytest.raises(UserError, match=r"not UTF-8 \(byte 3 is 0xe9\); save the script as UTF-8"):
        read_script(str(path), TEN_S)


@pytest.mark.parametrize(("name", "content"), [("s.srt", SRT), ("s.vtt", VTT)])
def test_cues(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    script = read_script(str(path), TEN_S)
    assert [(cue.start_s, cue.end_s) for cue in script.cues] == [
        (Fraction(1, 2), Fraction(2)),
        (Fraction(3), Fraction(9, 2)),
    ]
    first = "hello there rabbit number two" if name == "s.srt" else "hello there and goodbye"
    assert [join_words(cue.words) for cue in script.cues] == [first, "its me"]
    assert script.text == f"{first} its me" and script.warnings == ()


def test_cue_outside_the_video(tmp_path):
    path = tmp_path / "late.srt"
    path.write_text(SRT)
    with pytest.raises(
        UserError,
        match=r"late.srt: cue 2 ends at 4.50 s but the video is 4.20 s long; "
        r"shorten the cue or pass --allow-overrun",
    ):
        read_script(str(path), Fraction(42, 10))
    script = read_script(str(path), Fraction(42, 10), allow_overrun=True)
    assert script.cues[-1].end_s == Fraction(42, 10)
    assert len(read_script(str(path), Fraction(1), allow_overrun=True).cues) == 1
    assert read_script(str(path), Fraction(448, 100)).cues  # rounding of half a frame is no overrun


def test_cue_without_length(tmp_path):
    path = tmp_path / "s.srt"
    path.write_text(SRT.replace("00:00:04,500", "00:00:03,000"))
    with pytest.raises(
        UserError, match=r"cue 2 ends at 3.00 s, not after its start at 3.00 s; correct its times"
    ):
        read_script(str(path), TEN_S)


def test_subtitles_without_cues(tmp_path):
    path = tmp_path / "s.srt"
    path.write_text("these are no subtitles\n")
    with pytest.raises(UserError, match=r"s.srt: holds no cue; a cue is a line"):
        read_script(str(path), TEN_S)
    path.write_text("")
    assert read_script(str(path), TEN_S).words == ()
