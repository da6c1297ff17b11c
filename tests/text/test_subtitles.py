"""Subtitles of all kinds: times, text and speakers; what is broken is named, never spoken."""

from fractions import Fraction

import pysubs2
import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.text.script_source import ScriptSource
from dualdub_jax.text.subtitles import find_format, read_subtitles

SRT = """1
00:00:01,000 --> 00:00:02,000
<i>I'll</i> see {\\an8}you

2
00:00:03,000 --> 00:00:04,500
a < b and c > d
"""
VTT = """WEBVTT - title
Kind: captions

STYLE
::cue { color: red }

NOTE a remark
in two lines

intro-id
00:01.000 --> 00:02.000 align:start
<v Mary Smith>I<00:00:01.500>'ll</v> <c.yellow>see</c>&nbsp;you

00:03.000 --> 00:04.500
a &lt; b and c > d
"""
ASS = """[Script Info]
Title: x

[V4+ Styles]
Style: Default,Arial,20,&H00FFFFFF,&H000000FF,&H00000000,&H00000000,0,0,0,0,100,100,0,0,1,2,2,2,10,10,10,1

[Events]
Comment: 0,0:00:00.00,0:00:01.00,Default,,0,0,0,,a remark
Dialogue: 0,0:00:01.00,0:00:02.00,Default,Ann,0,0,0,,I'll {\\i1}see\\Nyou
Dialogue: 0,0:00:03.00,0:00:04.50,Default,,0,0,0,,{\\p1}m 0 0 l 100 0{\\p0}a < b and c > d
"""
SUB = "{1}{1}10\n{10}{20}{y:i}I'll see|you\n{30}{45}a < b and c > d\n"
SUBVIEWER = (
    "[INFORMATION]\n[TITLE]x\n[END INFORMATION]\n[SUBTITLE]\n00:00:01.00,00:00:02.00\nI'll see[br]you\n\n"
    "00:00:03.00,00:00:04.50\na < b and c > d\n"
)
TTML = (
    '<?xml version="1.0"?><tt xmlns="http://www.w3.org/ns/ttml"><body><div>'
    '<p begin="1s" end="2s">I\'ll <span>see</span><br/>you</p>'
    '<p begin="00:00:03.000" dur="1.5s">a &lt; b and c &gt; d</p></div></body></tt>'
)
WHISPER = (
    '{"segments": [{"start": 1, "end": 2, "text": " I\'ll see you"}, '
    '{"start": 3, "end": 4.5, "text": "a < b and c > d"}]}'
)


def parse(text: str, suffix: str = "", rate_hz: float | None = None):
    source = ScriptSource(f"film{suffix}", text, suffix)
    return read_subtitles(source, find_format(source), rate_hz)


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        *((SRT, ".srt"), (SRT, ".txt"), (SRT, ""), (SRT.replace("\n\n2\n", "\n2\n"), ".srt")),
        *(
            (VTT, ".vtt"),
            (VTT, ".srt"),
            (ASS, ".ass"),
            (ASS, ".txt"),
            (ASS[ASS.index("[E") :], ".ass"),
            (SUB, ".sub"),
            (SUBVIEWER, ".sub"),
        ),
        (ASS[ASS.index("[Events]") :], ".ass"),
        *((TTML, ".ttml"), (TTML, ".xml"), (WHISPER, ".json")),
        (pysubs2.SSAFile.from_string(SRT, keep_html_tags=True).to_string("json"), ".json"),
    ],
)
def test_all_kinds_say_the_same(text, suffix):
    first, second = parse(text, suffix).subtitles
    assert first.text.split() == ["I'll", "see", "you"]
    assert second.text.split() == ["a", "<", "b", "and", "c", ">", "d"]
    assert (first.start_s, first.end_s) == (1, 2)
    assert (second.start_s, second.end_s) == (3, Fraction(9, 2))


def test_speakers_come_from_voice_tags_and_actors():
    assert parse(VTT).subtitles[0].speaker == "Mary Smith"
    assert parse(ASS).subtitles[0].speaker == "Ann"


@pytest.mark.parametrize(
    ("text", "unspoken"),
    [
        (VTT, {("styles", "STYLE"), ("notes", "a remark in two lines")}),
        (ASS, {("comments", "a remark"), ("drawings", "m 0 0 l 100 0")}),
        (SRT + "\n7\n", {("stray cue numbers and names", "7")}),
        (SRT.replace("a <", "{whispers} a <"), {("stage directions", "whispers")}),
    ],
)
def test_what_is_not_spoken_is_kept(text, unspoken):
    assert {(piece.kind, piece.text) for piece in parse(text).unspoken} == unspoken


def test_numbers_in_the_text_are_text():
    times = "00:00:0{},000 --> 00:00:0{},900\n"
    text = f"1\n{times.format(1, 1)}Ready?\n3\n\n2\n{times.format(2, 2)}2\n\n3\n{times.format(3, 3)}now\n1"
    assert [subtitle.text for subtitle in parse(text).subtitles] == ["Ready?\n3", "2", "now\n1"]


@pytest.mark.parametrize(
    ("text", "suffix", "message"),
    [
        (SRT.replace("00:00:03", "00:00:0x"), ".srt", r"line 6 is no valid time line \('00:00:0x,000 --> "),
        (SRT.replace("00:00:03", "00:75:03"), ".srt", "line 6 is no valid time line"),
        (SRT.replace("-->", "->"), ".srt", "line 2 is no valid time line"),
        (SRT.replace(" --> 00:00:04,500", ""), ".srt", "line 6 is no valid time line"),
        (SRT.replace("00:00:01", "-00:00:01"), ".srt", "line 2 is no valid time line"),
        (VTT.replace("00:04.500", "soon"), ".vtt", "line 14 is no valid time line"),
        (VTT + "\nno cue\n", ".vtt", r"line 17 belongs to no cue \('no cue'\)"),
        ("no subtitles\n", ".srt", "line 1 belongs to no cue"),
        ("WEBVTT\n", ".vtt", "holds no cue; a cue is a line"),
        (ASS.replace("0:00:03.00", "0:0x:03.00"), ".ass", "line 10 is no valid Dialogue line"),
        (SUB.replace("{45}", "{4x}"), ".sub", "line 3 is no line of a microdvd file"),
        (SUB.partition("\n")[2], ".sub", r"its times are frames, of an unknown rate; .*\{1\}\{1\}25"),
        (TTML[:-5], ".ttml", "not a valid ttml file"),
        ("{}", ".json", r"is JSON, but not that of Whisper or pysubs2; give \{\"segments\": "),
        (
            '[{"start": 1, "end": 2, "text": "00:00:01,000 --> 00:00:02,000"}]',
            ".json",
            "is JSON, but not that",
        ),
        ("[1", ".json", "is no valid JSON"),
        ("<transcript/>", ".xml", "holds no cue; it was read as ttml; give a .srt"),
        (SRT.replace(",000 -->", ":12 -->"), ".srt", "line 2 is no valid time line"),
        (
            '{"info": {}, "styles": {}, "events": [{"start": null, "text": "a"}]}',
            ".json",
            "cue 1 has no valid",
        ),
    ],
)
def test_broken_files_name_the_line(text, suffix, message):
    with pytest.raises(UserError, match=f"film{suffix}: {message}"):
        parse(text, suffix)


def test_frames_are_those_of_the_film():
    parsed = parse(SUB.partition("\n")[2], ".sub", rate_hz=10.0)
    assert parsed.subtitles[0].start_s == 1
    assert parsed.warnings == ("film.sub: its times are read as frames of the film, at 10 frames/s",)


@pytest.mark.parametrize("text", ["hello", "At 10:00 we leave", "a -> b", "1\n2\n3", "MARY: hi", "<3 you"])
def test_plain_text_is_no_subtitles(text):
    assert find_format(ScriptSource("--script", text)) is None


def test_voice_tags_and_speakers_of_json_divide_a_cue():
    times = "00:01.000 --> 00:02.000\n"
    (cue,) = parse(f"WEBVTT\n\n{times}<v.loud Mary &amp; Ann>one</v> two <v John>three").subtitles
    turns = [(turn.speaker, turn.text.split()) for turn in cue.turns]
    assert turns == [("Mary & Ann", ["one", "two"]), ("John", ["three"])]
    first, second = parse(WHISPER.replace('you"', 'you", "speaker": "SPEAKER_00"'), ".json").subtitles
    assert (first.speaker, second.speaker) == ("SPEAKER_00", "")
