"""The evaluation's page: complete, escaped, bounded in size, with clips that can be found and heard."""

import base64
import copy
import html.parser
import io
import json
import pathlib
import urllib.parse

import av
import numpy as np
import pytest
import soundfile

from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.report import html_report
from dualdub_jax.evaluation.report.interval_chart import difference_chart, place_on_scale
from dualdub_jax.evaluation.report.number_text import number, signed
from dualdub_jax.evaluation.report.worst_clips import worst_clips

_NASTY = '</script><script>alert("$x ${y}")</script> & <b>'
_VOID = {"meta", "link", "img", "br", "wbr", "input", "hr", "source", "col"}
_FIGURES = {
    "wer": ("%", "lower", (0.3, 0.06, 0.08, 0.97)),
    "onset_f1": ("", "higher", (0.9, 1.0, 0.99, 0.2)),
    "loudness_mix_lufs": ("LUFS", "neither", (-25.0, -24.0, -24.0, -26.0)),
    "a_figure_of_next_year": ("", "higher", (None, None, None, None)),
}
_SYSTEMS = ("ours", "true", "codec", "shuffled")


class _Page(html.parser.HTMLParser):
    """What the page holds; fails on elements that are not closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.data = ""
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "script" and self.tags[-1][1].get("id") == "data":
            self.data += data
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag == name]


def _clip(root: pathlib.Path, index: int) -> dict:
    folder = root / "clips" / f"{index} #1"  # a name that a URL must quote
    folder.mkdir(parents=True)
    files = {"speech": {}, "background": {}, "mix": {}}
    for k, track in enumerate(("speech", "background")):
        for system in _SYSTEMS:
            path = folder / f"{system} {track}.flac"
            soundfile.write(path, 0.3 * np.sin(np.arange(8_000) * (0.1 + 0.1 * k + 0.01 * index)), 16_000)
            files[track][system] = str(path.relative_to(root))
    with av.open(str(folder / "film.mp4"), "w") as film:
        stream = film.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for shade in range(12):
            picture = np.full((32, 32, 3), 20 * shade, np.uint8)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        film.mux(stream.encode())
    files["video"] = str((folder / "film.mp4").relative_to(root))
    figures = {
        system: {name: None if v[k] is None else v[k] + 0.01 * index for name, (_, _, v) in _FIGURES.items()}
        for k, system in enumerate(_SYSTEMS)
    }
    return {
        "id": f"clip-{index}",
        "group": "seen" if index % 2 else "unseen",
        "text": f"hello {index}",
        "duration_s": 0.5,
        "figures": figures,
        "files": files,
        "shuffled_from": None,
        "notes": {"contacts_s": [0.1, 0.4, 7.0]},
        "fingerprint": "f",
        "scores": {},
    }


def _entry(unit: str, better: str, values: tuple) -> dict:
    def row(value):
        return {"value": value, "low": value, "high": value, "n": 0 if value is None else 12}

    rows = dict(zip(_SYSTEMS, map(row, values), strict=True))
    return {
        **row(values[0]),
        "ceiling": values[1],
        "codec_ceiling": values[2],
        "floor": values[3],
        "rows": rows,
        "groups": {"seen": row(values[0])},
        "unit": unit,
        "better": better,
        "about": "what it is",
        "metric": "some_metric",
        "metric_version": "7",
        "weights_sha256": "abc123",
        "packages": {"jiwer": "4.0"},
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[dict, pathlib.Path]:
    """Results of twelve clips and their files."""
    root = tmp_path_factory.mktemp("work dir")
    metrics = {name: _entry(*spec) for name, spec in _FIGURES.items()}
    metrics["a_figure_of_next_year"]["missing"] = "not installed: pip install 'dualdub-jax[eval]'"
    results = {
        "schema": 1,
        "suite": "puppet",
        "protocol": {
            "systems": {"ours": "made by the checkpoint"},
            "seed": 0,
            "checkpoint": {"name": "the_name", "path": "runs/x", "sha256": "5ea1"},
            "suite": {"splits": ["test_seen"]},
        },
        "workdir": str(root),
        "num_clips": 13,
        "num_scored": 12,
        "failures": [{"id": "clip-12", "system": "ours", "stage": "generate", "error": f"NaN {_NASTY}"}],
        "missing_media": [{"id": "Anna-1", "kind": "video", "file": "Anna 1.mp4"}],
        "metrics": metrics,
        "clips": [_clip(root, i) for i in range(12)],
        "against": None,
    }
    return results, root


@pytest.fixture(scope="module")
def page(run, tmp_path_factory) -> tuple[_Page, pathlib.Path]:
    results, root = run
    path = tmp_path_factory.mktemp("out") / "report.html"
    html_report.write_html(results, path, files_root=root)
    return _Page(path.read_text(encoding="utf-8")), path


def _without_media(results: dict, root: pathlib.Path) -> str:
    return html_report.render_html(results, root, root, max_embedded_bytes=0)


def test_page_needs_nothing_from_outside(page):
    for tag, attrs in page[0].tags:
        for key in ("src", "href", "poster"):
            if key in attrs:
                assert attrs[key].startswith(("data:", "./", "#")), (tag, attrs[key][:80])
    text = page[1].read_text(encoding="utf-8")
    assert "http:" not in text and "https:" not in text and "@import" not in text and "url(" not in text


def test_every_figure_is_there_with_all_that_is_known_of_it(page):
    rows = [attrs["data-figure"] for attrs in page[0].all("tr") if "data-figure" in attrs]
    assert set(rows) == set(_FIGURES)
    text = page[0].text
    for words in ("some_metric, version 7", "abc123", "jiwer 4.0", "what it is", "higher is better", "5ea1"):
        assert words in text or words in str(page[0].tags), words
    assert "not installed: pip install 'dualdub-jax[eval]'" in text
    assert "Further figures" in text, "a figure that no heading claims is shown all the same"
    labels = [attrs["aria-label"] for attrs in page[0].all("svg") if "aria-label" in attrs]
    assert labels[0].startswith("wer: 30, 95% interval 30 to 30, floor 97, ceiling 6,"), "percent"
    assert len(labels) == 3


def test_troubles_are_spelled_out(page):
    text = page[0].text
    for words in ("12 of 13 clips scored", "1 failure", "clip-12", "ours, generate: NaN", "Anna 1.mp4"):
        assert words in text, words


def test_clips_of_the_table(page):
    rows = [attrs for attrs in page[0].all("tr") if "data-clip" in attrs]
    assert [row["data-clip"] for row in rows] == [str(i) for i in range(12)]
    data = json.loads(page[0].data)
    assert data["figures"] == ["wer", "onset_f1", "loudness_mix_lufs"]
    assert data["values"]["ours"][0][:3] == [30.0, 31.0, 32.0] and data["values"]["true"][1][0] == 1.0
    assert data["worst"]["wer"] == [11, 10, 9, 8, 7, 6, 5, 4]
    assert data["worst"]["onset_f1"] == [0, 1, 2, 3, 4, 5, 6, 7]


def test_every_worst_clip_has_a_card(page):
    cards = {attrs["id"] for attrs in page[0].all("template")}
    for indices in json.loads(page[0].data)["worst"].values():
        assert {f"clip-{i}" for i in indices} <= cards


def test_links_lead_to_files(page, run):
    links = [attrs[key] for _, attrs in page[0].tags for key in ("src", "href") if key in attrs]
    files = [link for link in links if link.startswith("./")]
    assert len(files) > 12
    for link in files:
        assert (page[1].parent / urllib.parse.unquote(link)).is_file(), link


def test_worst_clips_are_inside(page):
    players = page[0].all("audio")
    inside = [a for a in players if a["src"].startswith("data:audio/ogg")]
    labels = {a["aria-label"] for a in inside}
    assert labels == {f"{s} {t}" for s in ("ours", "true") for t in ("speech", "background", "mix")}
    speech = next(a["src"] for a in inside if a["aria-label"] == "ours speech")
    samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(speech.partition(",")[2])))
    assert rate_hz == 16_000 and len(samples) == 8_000 and 0.15 < samples.std() < 0.27
    assert any(v["src"].startswith("data:video/mp4") for v in page[0].all("video"))
    pictures = [i for i in page[0].all("img") if i["alt"].startswith("mel spectrogram: ours")]
    assert pictures and all(i["src"].startswith("data:image/webp") for i in pictures)
    marks = [i["style"] for i in page[0].all("i")]
    assert set(marks) == {"left:20.00%", "left:80.00%"}, "contacts after the end are left out"


def test_texts_from_outside_stay_text(run):
    results = copy.deepcopy(run[0])
    results["clips"][0] |= {"text": _NASTY, "id": _NASTY, "group": _NASTY}
    results["metrics"]["wer"]["about"] = results["metrics"]["wer"]["unit"] = _NASTY
    results["protocol"]["checkpoint"]["name"] = results["protocol"]["note"] = _NASTY
    clean = _Page(_without_media(run[0], run[1]))
    page = _Page(_without_media(results, run[1]))
    for tag in ("script", "b", "template", "option"):
        extra = 1 if tag == "option" else 0  # the new group
        assert len(page.all(tag)) == len(clean.all(tag)) + extra, tag
    assert page.text.count(_NASTY) >= 7


@pytest.mark.parametrize("budget", [0, 20_000, 100_000])
def test_size_is_bounded_and_nothing_is_out_of_reach(run, tmp_path, budget):
    page = _Page(html_report.render_html(run[0], tmp_path, run[1], max_embedded_bytes=budget))
    media = [a["src"] for t, a in page.tags if t in ("audio", "video", "img")]
    assert sum(len(src) for src in media if src.startswith("data:")) <= budget
    players = page.all("audio")
    assert len([p for p in players if p["aria-label"] == "ours speech"]) == 12
    assert all(p["src"].startswith(("data:audio", "./")) for p in players)
    assert any(src.startswith("data:") for src in media) == (budget > 0)


def test_lost_and_broken_files_do_not_stop_the_page(run, tmp_path):
    results = copy.deepcopy(run[0])
    (tmp_path / "broken.wav").write_bytes(b"RIFF no sound")
    for clip in results["clips"]:
        clip["files"]["speech"] = {"ours": "gone.wav", "true": str(tmp_path / "broken.wav")}
        clip["files"]["video"] = "gone.mp4"
    page = _Page(html_report.render_html(results, tmp_path, run[1]))
    assert "./" in page.all("video")[0]["src"]
    assert any(
        a["src"].startswith("data:") for a in page.all("audio") if a["aria-label"] == "ours background"
    )


def test_clips_without_anything(tmp_path):
    bare = {"id": "x", "group": "", "text": None, "duration_s": 0.0, "figures": {}, "files": {}, "notes": {}}
    results = {
        "suite": "pairs", "protocol": {}, "num_clips": 1, "num_scored": 0, "failures": [],
        "missing_media": [],
        "metrics": {}, "clips": [bare], "against": None,
    }  # fmt: skip
    page = _Page(html_report.render_html(results, tmp_path, tmp_path))
    assert "No track of this clip was kept." in page.text and "given soundtracks" in page.text
    assert "no failures" in page.text and not page.all("audio")
    _Page(html_report.render_html(results | {"clips": [], "num_clips": 0}, tmp_path, tmp_path))


def test_numbers_that_do_not_exist(run):
    results = copy.deepcopy(run[0])
    results["clips"][3]["figures"]["ours"]["wer"] = float("nan")
    results["clips"][4]["figures"] = {}
    results["metrics"]["wer"] |= dict.fromkeys(("value", "low", "high", "floor"))
    page = _Page(_without_media(results, run[1]))
    data = json.loads(page.data)
    assert data["values"]["ours"][0][2:6] == [32.0, None, None, 35.0]
    assert not {3, 4} & set(data["worst"]["wer"])
    label = next(a["aria-label"] for a in page.all("svg") if "aria-label" in a)
    dash = number(None)
    assert label == f"wer: {dash}, 95% interval {dash}, floor {dash}, ceiling 6, codec ceiling 8"


def test_differences(run):
    found = {"ours": 0.3, "other": 0.4, "difference": -0.1, "low": -0.2, "high": -0.05, "n": 11}
    against = {
        "name": "runs/other", "kind": "checkpoint", "protocol": {}, "num_clips": 11,
        "metrics": {
            "onset_f1": {"missing": "another version of the metric"},
            "wer": found | {"unit": "%", "better": "lower", "verdict": "better"},
        },
    }  # fmt: skip
    page = _Page(_without_media(run[0] | {"against": against}, run[1]))
    for words in ("Ours minus runs/other", "-10", "-20 to -5", "another version of the metric"):
        assert words in page.text, words
    assert {"verdict better", "chart better"} <= {a.get("class") for a in page.all("td")}
    assert "Ours minus" not in _Page(_without_media(run[0], run[1])).text


def test_place_that_cannot_be_written(run, tmp_path):
    with pytest.raises(UserError, match=r"none/report\.html: cannot be written"):
        html_report.write_html(run[0] | {"clips": []}, tmp_path / "none" / "report.html", files_root=run[1])


def _ranked(values, better, true=None):
    clips = [
        {"figures": {"ours": {"x": v}, "true": {"x": t}}}
        for v, t in zip(values, true or [None] * len(values), strict=True)
    ]
    return worst_clips(clips, "x", better, 3)


def test_worst():
    assert _ranked([1.0, 3.0, None, 2.0, 0.0], "lower") == [1, 3, 0]
    assert _ranked([1.0, 3.0, None, 2.0, 0.0], "higher") == [4, 0, 3]
    assert _ranked([1.0, 1.0, 9.0, 0.5], "neither") == [2, 3], "far from the median"
    assert _ranked([1.0, 1.0, 9.0, 0.5], "neither", true=[5.0, 1.0, 9.0, 0.6]) == [0, 3], "far from the truth"
    assert _ranked([0.0, 0.0, 0.0], "lower") == [], "nobody is worse than the best"
    assert _ranked([None, None], "lower") == []
    assert _ranked([2.0], "lower") == [0]


def test_the_good_end_of_the_scale_is_on_the_right():
    assert place_on_scale([0.5], floor=1.0, ceiling=0.0, better="lower") == [0.5]
    assert place_on_scale([0.2, 2.0], floor=1.0, ceiling=0.0, better="lower") == [0.8, -1.0]
    assert place_on_scale([0.2], floor=0.0, ceiling=1.0, better="higher") == [0.2]
    assert place_on_scale([3.0, 1.0, None], floor=None, ceiling=None, better="lower") == [0.0, 1.0, None]
    assert place_on_scale([0.0, 0.0], floor=0.0, ceiling=0.0, better="lower") == [0.5, 0.5]
    assert place_on_scale([None], floor=None, ceiling=None, better="higher") == [None]
    assert place_on_scale([1.0], floor=0.9, ceiling=0.5, better="higher") == [1.0], (
        "a floor above the ceiling"
    )


@pytest.mark.parametrize(("better", "is_right"), [("higher", True), ("lower", False)])
def test_differences_for_the_better_are_right_of_zero(better, is_right):
    chart = difference_chart(0.1, 0.05, 0.15, better, "")
    place = float(chart.partition('cx="')[2].partition('"')[0])
    assert (place > 110) == is_right


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (16_000.0, "16000"),
        (0.5, "0.500"),
        (-0.1234, "-0.123"),
        (12.345, "12.35"),
        (123.45, "123.5"),
        (0.00123, "0.0012"),
        (0.00001, "1e-05"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


def test_signs_and_no_numbers():
    assert (signed(0.25), signed(-0.25), signed(0.0)) == ("+0.250", "-0.250", "0")
    assert number(None) == number(float("nan")) == signed(None) == "\N{EN DASH}"
