"""Who speaks with which voice: names match whatever their case, and nobody is left without a voice."""

import json
import pathlib
from fractions import Fraction

import pytest

from dualdub_jax.dubbing.casting import assign_voices, check_cast, read_cast
from dualdub_jax.errors import UserError
from dualdub_jax.text.script import read_script

WAV = pathlib.Path("a.wav")


def script_of(text: str, *names: str):
    return read_script(text, Fraction(60), names=names)


def speakers(text: str, *names: str) -> list[tuple[str, str]]:
    script = assign_voices(script_of(text, *names), dict.fromkeys(names, WAV))
    return [(word.speaker, word.text) for word in script.words]


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("MARY: one\ntwo\nJOHN: three", ("mary", "John"), "mary one, mary two, John three"),
        ("one\n[JOHN] two", ("JOHN",), " one, JOHN two"),
        ("old  mary the third: one", ("Old Mary the Third",), "Old Mary the Third one"),
        ("Note: one", ("NOTE",), "NOTE one"),
        ("ÉLODIE: one\nØyvind  Åse: two", ("élodie", "Øyvind Åse"), "élodie one, Øyvind Åse two"),
        ("E\u0301lodie: one", ("Élodie",), "Élodie one"),
        ("田中\uff1a one\nمريم: two", ("田中", "مريم"), "田中 one, مريم two"),
        ("MARY: one. JOHN: two! mary: three", ("MARY", "JOHN"), "MARY one, JOHN two, MARY three"),
        ("MARY (softly): one", ("MARY",), "MARY one"),
        ("- mary: one\n- (john) two", ("MARY", "JOHN"), "MARY one, JOHN two"),
        ("I told Mary: go", ("MARY",), " i, told, mary, go"),
        ("one [John] two", ("JOHN",), " one, JOHN two"),
        ("<v Mary Ann>one</v> <v.loud John>two", ("MARY ANN", "JOHN"), "MARY ANN one, JOHN two"),
    ],
)
def test_names_are_found_and_matched(text, names, expected):
    found, last = [], None
    for speaker, word in speakers(text, *names):
        found.append(f"{speaker} {word}" if speaker or last is None else word)
        last = speaker
    assert ", ".join(found) == expected


SRT = """1
00:00:01,000 --> 00:00:02,000
MARY: one

2
00:00:03,000 --> 00:00:04,000
- JOHN: two
- ANN: three
"""


def test_names_without_a_voice_are_an_error_with_their_cues():
    with pytest.raises(
        UserError,
        match=r"--script: no voice for JOHN \(cue 2\), ANN \(cue 2\); add JOHN=FILE to --voices, which has M",
    ):
        check_cast(script_of(SRT, "Mary"), {"Mary": WAV}, False)
    with pytest.raises(UserError, match="no voice for JOHN; add"):
        check_cast(script_of("Mary: one. JOHN: two", "Mary"), {"Mary": WAV}, False)


def test_voices_that_nobody_needs_and_words_that_nobody_speaks_are_told():
    cast = dict.fromkeys(("Mary", "John", "Ann", "Bob"), WAV)
    assert check_cast(script_of(SRT, *cast), cast, False) == [
        "--voices: nobody in the script speaks with the voice of Bob"
    ]
    nobody = script_of(SRT.replace("MARY: ", ""), *cast)
    (_, warning) = check_cast(nobody, cast, False)
    assert warning.startswith("--script: words of nobody (cue 1) have a voice that the model samples")
    assert len(check_cast(nobody, cast, True)) == 1


def test_a_voice_that_is_not_used_is_told():
    cast = dict.fromkeys(("Mary", "John", "Ann"), WAV)
    assert check_cast(script_of(SRT, *cast), cast, True) == [
        "--voice: is not used, for --voices has a voice for all words"
    ]
    assert check_cast(script_of(""), {}, True) == [
        "--voice: is not used, for without a script nothing is spoken"
    ]


def test_without_a_cast_one_voice_for_several_is_told():
    assert check_cast(script_of("MARY: one\nJOHN: two"), {}, False) == [
        "--script: all speakers are given one voice: MARY, JOHN; --voices gives each one"
    ]
    assert check_cast(script_of("MARY: one\nMary: two"), {}, False) == []
    assert {speaker for speaker, _ in speakers("MARY: one\nJOHN: two")} == {""}


def test_a_file_of_voices_is_relative_to_its_folder(tmp_path):
    (tmp_path / "cast.json").write_text(json.dumps({" MARY  ANN ": "m.wav", "JOHN": "/voices/j.wav"}))
    assert read_cast(tmp_path / "cast.json") == {
        "MARY ANN": tmp_path / "m.wav",
        "JOHN": pathlib.Path("/voices/j.wav"),
    }
    assert read_cast({"A": "b.wav"}) == {"A": pathlib.Path("b.wav")} and read_cast(None) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "is a JSON array, not an object; give an object of names and recordings"),
        ("3", "is a JSON number, not an object"),
        ('{"MARY": ', "is no valid JSON"),
        ('{"MARY": {"file": "m.wav"}}', "the voice of MARY is a JSON object; give the path of its recording"),
        ('{"MARY": null}', "the voice of MARY is a JSON null"),
        ('{"MARY": " "}', "the voice of MARY is empty"),
        ('{" ": "m.wav"}', "a voice lacks its name"),
        ('{"Mary": "m.wav", "MARY": "n.wav"}', "Mary and MARY are one name"),
        ('{"Mary": "m.wav", "Mary": "n.wav"}', "Mary and Mary are one name"),
        ('{"Mary": "https://host/m.wav"}', "expected the path of a local file"),
        ("\xff\xfe", "is no JSON file; give an object .*, or write NAME=.*cast.json"),
    ],
)
def test_a_wrong_file_of_voices_says_what_is_wrong(tmp_path, text, message):
    (tmp_path / "cast.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=f"cast.json: {message}"):
        read_cast(tmp_path / "cast.json")


def test_a_missing_file_of_voices(tmp_path):
    with pytest.raises(UserError, match=r"gone.json: no such file of voices; give an object"):
        read_cast(tmp_path / "gone.json")
    with pytest.raises(UserError, match="cannot be read"):
        read_cast(tmp_path)
