"""A manifest: what its lines may say, and every way of saying it wrong, named by file and line."""

import json

import pytest

from dualdub_jax.dubbing.manifest import read_manifest
from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.errors import UserError

DEFAULTS = {"seed": 5, "sampling": {"guidance_scale": 1.5}, "script": ""}


def read(path, **outputs):
    return read_manifest(path, path.parent / "out", DEFAULTS, outputs)


def write(tmp_path, *lines, name="films.jsonl"):
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (tmp_path / name).write_text(text + "\n", encoding="utf-8")
    return tmp_path / name


def test_lines_of_objects(tmp_path):
    (tmp_path / "a.srt").write_text("hello")
    path = write(
        tmp_path,
        {"video": "films/a.mp4", "script": "a.srt", "voice": "v.wav", "seed": 7, "rt60_s": 1},
        "",
        {
            "video": "/b.mkv",
            "script": "hi\u2028you",
            "guidance_scale": 2.0,
            "out": "x/y.mkv",
            "voice": None,
        },
        {
            "video": "c.mp4",
            "script": "gone.srt",
            "voices": {"ANN": "a.wav"},
            "sampling": {"speech_top_k": 3},
        },
    )
    a, b, c = read(path, stems="stems/{name}", receipt="{name}.json")
    assert (a.number, b.number, c.number) == (1, 3, 4)
    assert a.settings["video"] == tmp_path / "films" / "a.mp4" and a.settings["script"] == str(
        tmp_path / "a.srt"
    )
    assert a.settings["voice"] == tmp_path / "v.wav" and (a.settings["seed"], b.settings["seed"]) == (7, 5)
    assert (
        a.settings["sampling"] == {"guidance_scale": 1.5} and b.settings["sampling"]["guidance_scale"] == 2.0
    )
    assert b.settings["script"] == "hi\u2028you" and "voice" not in b.settings
    assert c.settings["script"] == str(tmp_path / "gone.srt")  # so that its error names the place
    assert c.settings["voices"] == {"ANN": tmp_path / "a.wav"}
    assert c.settings["sampling"] == {"guidance_scale": 1.5, "speech_top_k": 3}
    out = tmp_path / "out"
    assert a.targets.out == out / "a.mp4" and b.targets.out == out / "x" / "y.mkv"
    assert b.targets.stems == out / "stems" / "y" and b.targets.receipt == out / "y.json"
    assert a.targets.report is None and a.project is None
    assert DubRequest(**a.settings).seed == 7


@pytest.mark.parametrize(("name", "delimiter"), [("films.csv", ","), ("films.TSV", "\t")])
def test_tables(tmp_path, name, delimiter):
    rows = [
        ["video", "script", "seed", "use_background", "rt60_s", "speech_temperature", "voices"],
        ["a.mp4", '"hello, ""you"""', "3", "no", "0.5", "0", ""],
        ["b.mp4", '"two\nlines"', "", "", "", "", '"{""ANN"": ""ann.wav""}"'],
    ]
    text = "\ufeff" + "\r\n".join(delimiter.join(row) for row in rows) + "\r\n\r\n"
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    a, b = read(tmp_path / name)
    assert (a.number, b.number) == (2, 3)
    assert a.settings["script"] == 'hello, "you"' and a.settings["seed"] == 3
    assert a.settings["use_background"] is False and a.settings["rt60_s"] == 0.5
    assert a.settings["sampling"] == {"guidance_scale": 1.5, "speech_temperature": 0.0}
    assert b.settings["script"] == "two\nlines" and b.settings["seed"] == 5 and "rt60_s" not in b.settings
    assert b.settings["voices"] == {"ANN": tmp_path / "ann.wav"}


def test_settings_of_mix_and_delivery(tmp_path):
    given = {
        "video": "a.mp4",
        "lufs": -23,
        "keep_original": ["music.wav=-12dB", "film=-6dB"],
        "subtitles": [True, "{name}.srt"],
        "audio_tracks": ["mix", "speech"],
        "stem_rate": 48000,
        "language": "en",
    }
    (line,) = read(write(tmp_path, given))
    mix, targets = DubRequest(**line.settings).mix, line.targets
    assert mix.lufs == -23 and mix.keep_original == {str(tmp_path / "music.wav"): -12.0, "film": -6.0}
    assert targets.subtitles == (True, tmp_path / "out" / "a.srt") and targets.audio_tracks == (
        "mix",
        "speech",
    )
    assert (targets.stem_rate, targets.language) == (48_000, "en")
    cells = "a.mp4,-23,music.wav=-12dB,true,48000"
    table = write(tmp_path, "video,lufs,keep_original,subtitles,stem_rate", cells, name="films.csv")
    (line,) = read(table, subtitles=["{name}.vtt"])
    assert DubRequest(**line.settings).mix.keep_original == {str(tmp_path / "music.wav"): -12.0}
    assert line.targets.subtitles == (True,) and line.targets.stem_rate == 48_000


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"video": "a.mp4"', "not JSON"),
        ('["a.mp4"]', r"expected an object \{…\}"),
        ('{"script": "hello"}', 'has no "video"; name the film'),
        ('{"video": "a.mp4", "voise": "v.wav"}', 'no field "voise"; did you mean voice'),
        ('{"video": "a.mp4", "seed": "7"}', '"seed" is "7"; give a whole number'),
        ('{"video": "a.mp4", "seed": true}', '"seed" is true; give a whole number'),
        ('{"video": "a.mp4", "rt60_s": "long"}', '"rt60_s" is "long"; give a number'),
        ('{"video": "a.mp4", "use_speech": "no"}', '"use_speech" is "no"; give true or false'),
        ('{"video": 3}', '"video" is 3; give a path'),
        ('{"video": ""}', '"video" is ""; give a path'),
        ('{"video": "a.mp4", "script": 3}', '"script" is 3; give text'),
        ('{"video": "a.mp4", "sampling": {"heat": 1}}', "sampling: no setting heat"),
        ('{"video": "a.mp4", "sampling": 3}', r'"sampling" is 3; give an object'),
        ('{"video": "a.mp4", "mix": {"loud": 3}}', "mix: no setting loud"),
        ('{"video": "a.mp4", "keep_original": 3}', '"keep_original" is 3; give "FILE=GAIN"'),
        (
            '{"video": "a.mp4", "keep_original": ["music.wav"]}',
            "keep_original .* names no sound",
        ),
        ('{"video": "a.mp4", "audio_tracks": 1}', '"audio_tracks" is 1; give a list of tracks'),
        ('{"video": "a.mp4", "subtitles": 1}', '"subtitles" is 1; give a path'),
        ('{"video": "a.mp4", "voices": {"ANN": 3}}', '"ANN" is 3; give a path'),
        ('{"video": "a.mp4", "voices": ["v.wav"]}', r'"voices" is \["v.wav"\]; give an object'),
        ('{"video": "a.mp4", "stems": "s/{nam}"}', r"s/\{nam\}: no placeholder \{nam\}; there is \{name\}"),
        ('{"video": "a.mp4", "video": "b.mp4"}', '"video" is given twice'),
        ('{"video": "good.mp4"}', r'writes .*good.mp4, as line 1 does; give one of them another "out"'),
        ('{"video": "a.mp4", "out": "b/../good.mp4"}', "writes .*, as line 1 does"),
        (
            '{"video": "a.mp4", "out": "../good.mp4"}',
            ".*good.mp4 is an input of line 1",
        ),
    ],
)
def test_every_fault_is_named_by_its_line(tmp_path, line, message):
    path = write(tmp_path, {"video": "good.mp4"}, "", line, '{"video": "last.mp4", "seed": -0.5}')
    with pytest.raises(UserError, match=rf"films.jsonl, line 3: {message}") as error:
        read(path)
    assert (
        len(error.value.messages) == 2
        and 'line 4: "seed" is -0.5'
        in error.value.messages[-1 if "writes" not in message and "input of" not in message else 0]
    )


def test_files_that_are_no_manifest(tmp_path):
    with pytest.raises(UserError, match=r"gone.jsonl: cannot be read \(No such file"):
        read(tmp_path / "gone.jsonl")
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory"):
        read(tmp_path)
    for name in ("films.jsonl", "films.csv"):
        with pytest.raises(UserError, match="holds no film"):
            read(write(tmp_path, "", name=name))
    (tmp_path / "latin.csv").write_bytes(b"video\n\xe9.mp4\n")
    with pytest.raises(UserError, match="not UTF-8"):
        read(tmp_path / "latin.csv")
    with pytest.raises(UserError, match="line 2: has 2 cells, the first row names 1"):
        read(write(tmp_path, "video", "a,b", name="films.csv"))
    with pytest.raises(UserError, match="a column is named twice"):
        read(write(tmp_path, "video,video", "a,b", name="films.csv"))
    with pytest.raises(UserError, match=r'line 1: the first row .*: no field "Wideo"; did you mean video'):
        read(write(tmp_path, "Wideo", "a.mp4", name="films.csv"))
    with pytest.raises(UserError, match=r'line 1: the first row .*: no field "a.mp4"; there are video, '):
        read(write(tmp_path, "a.mp4,hello", name="films.csv"))


def test_tables_of_spreadsheets(tmp_path):
    (line,) = read(write(tmp_path, "video;script;;", "a.mp4;yes, sir;;", ";;;", name="films.csv"))
    assert line.video == tmp_path / "a.mp4" and line.settings["script"] == "yes, sir"
    with pytest.raises(UserError, match="line 2: has 3 cells, the first row names 2; quote cells with ;"):
        read(write(tmp_path, "video;script", "a.mp4;yes;sir", name="films.csv"))


def test_outputs_of_all_lines_need_names_of_their_own(tmp_path):
    path = write(tmp_path, {"video": "a.mp4"}, {"video": "b.mp4"})
    with pytest.raises(UserError, match=r"line 2: writes .*r.json, as line 1 does; .* apart by \{name\}"):
        read(path, receipt="r.json")


def test_no_more_than_some_errors_are_listed(tmp_path):
    with pytest.raises(UserError) as error:
        read(write(tmp_path, *["{"] * 100))
    assert len(error.value.messages) == 21 and error.value.messages[-1].endswith("and 80 more")
