"""Scripts: from what people write to words with times, and a word on what is left out."""

from fractions import Fraction

import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.text.script import join_words, read_script

TEN_S = Fraction(10)

SRT = """1
00:00:00,500 --> 00:00:02,000
<i>Hello</i> there,
rabbit number 2!

2
00:00:03,000 --> 00:00:04,500
It's {\\an8}me.
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a script into the current folder, a temporary one."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return name

    return write


def test_text_is_spoken_and_the_rest_is_told():
    script = read_script("MARY: I'll go. (laughs)\nJOHN: say ☃ twice", TEN_S)
    assert script.text == "i'll go say twice" and script.cues == ()
    assert script.unspoken == {
        "speaker labels": ("MARY", "JOHN"),
        "stage directions": ("(laughs)",),
        "characters without pronunciation": ("☃",),
    }
    assert sorted(script.warnings) == [
        "--script: not spoken: characters without pronunciation ☃",
        "--script: not spoken: speaker labels MARY, JOHN",
        "--script: not spoken: stage directions (laughs)",
    ]


def test_formatting_is_no_text():
    script = read_script("<i>Hello</i> you<br>&amp; me, <font color='red'>now</font>; a < b", TEN_S)
    assert script.text == "hello you and me now a less than b" and not script.warnings


def test_long_lists_are_shortened():
    (warning,) = read_script("go " + " ".join(f"[{i}]" for i in range(30)), TEN_S).warnings
    assert warning.endswith("[8], [9] and 20 more")


@pytest.mark.parametrize("text", ["", " \n"])
def test_no_script_is_no_speech(text):
    script = read_script(text, TEN_S)
    assert script.words == () and script.warnings == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("...", "--script: nothing in it can be spoken; write the words to speak, or leave out --script"),
        ("(laughs)\n[music]", r"nothing in it can be spoken \(stage directions \[music\], \(laughs\)\)"),
        ("犬も歩けば", r"nothing .* \(characters without pronunciation 犬 .*\); write it in Latin letters"),
    ],
)
def test_nothing_to_speak_is_an_error(text, message):
    with pytest.raises(UserError, match=message):
        read_script(text, TEN_S)


def test_another_language_is_told():
    (warning,) = read_script("bonjour tout le monde", TEN_S).warnings
    assert warning.startswith("--script: seems to be in French and will be pronounced as English")


def test_cues(write):
    script = read_script(write("s.srt", SRT.replace("It's", "Mary: It's")), TEN_S)
    assert [(cue.start_s, cue.end_s, cue.speaker) for cue in script.cues] == [
        (Fraction(1, 2), Fraction(2), None),
        (Fraction(3), Fraction(9, 2), "Mary"),
    ]
    assert [join_words(cue.words) for cue in script.cues] == ["hello there rabbit number two", "it's me"]
    assert script.warnings == ("s.srt: not spoken: speaker labels Mary",)
    assert read_script(SRT, TEN_S).cues  # also without a file


def test_cue_outside_the_video(write):
    path = write("late.srt", SRT)
    with pytest.raises(
        UserError,
        match=r"late.srt: cue 2 ends at 4.50 s but the video is 4.20 s long; "
        r"shorten the cue or pass --allow-overrun",
    ):
        read_script(path, Fraction(42, 10))
    script = read_script(path, Fraction(42, 10), allow_overrun=True)
    assert script.cues[-1].end_s == Fraction(42, 10)
    assert read_script(path, Fraction(448, 100)).cues  # rounding of half a frame is no overrun
    script = read_script(path, Fraction(1), allow_overrun=True)
    assert len(script.cues) == 1
    assert script.warnings == ("late.srt: cue 2 starts after the film and is not spoken",)
    with pytest.raises(UserError, match=r"nothing in it can be spoken \(cue 1 starts after the film"):
        read_script(path, Fraction(1, 2), allow_overrun=True)


def test_cue_without_length(write):
    path = write("s.srt", SRT.replace("00:00:04,500", "00:00:03,000"))
    with pytest.raises(
        UserError, match=r"cue 2 ends at 3.00 s, not after its start at 3.00 s; correct its times"
    ):
        read_script(path, TEN_S)


def test_times_of_cues_without_words_are_of_no_account(write):
    late = "3\n00:00:20,000 --> 00:00:20,000\n[music]\n\n4\n00:00:30,000 --> 00:00:29,000\n"
    script = read_script(write("s.srt", f"{SRT}\n{late}"), TEN_S)
    assert len(script.cues) == 2 and script.unspoken["stage directions"] == ("[music]",)


@pytest.mark.parametrize("text", ["0:01\nHello\n0:05\nyou", "[00:00:01.50] Hello\n\n[00:00:05] you"])
def test_lines_that_begin_with_times_are_refused(write, text):
    with pytest.raises(UserError, match=r"t.txt: its lines begin with times .*; give a .srt or .vtt file"):
        read_script(write("t.txt", text), TEN_S)
    with pytest.raises(UserError, match="--script: its lines begin with times"):
        read_script(text, TEN_S)


def test_times_of_day_are_spoken():
    text = "10:00 we leave.\n11:30 we arrive."
    assert read_script(text, TEN_S).text == "ten o'clock we leave eleven thirty we arrive"


def test_cues_in_any_order_overlapping_or_twice(write):
    path = write("s.srt", SRT.replace("00:00:00,500 --> 00:00:02", "00:00:04,000 --> 00:00:06") + "\n" + SRT)
    script = read_script(path, TEN_S)
    assert [cue.start_s for cue in script.cues] == [Fraction(1, 2), 3, 4]
    assert script.words[:2] == script.cues[0].words[:2]
    assert script.warnings == ("s.srt: cues overlap and are spoken one after the other: 2 and 1",)


def test_a_line_drawn_twice_is_spoken_once_but_by_two_speakers_twice():
    cue = "00:01.000 --> 00:02.000\n"
    text = f"WEBVTT\n\n{cue}<v Ann>yes\n\n{cue}<v Ann>yes\n\n{cue}<v Bob>yes\n"
    assert [(c.speaker, c.number) for c in read_script(text, TEN_S).cues] == [("Ann", 1), ("Bob", 3)]
