"""Retakes: a region is generated anew, and every sample elsewhere stays as it is."""

import pathlib
from fractions import Fraction

import numpy as np
import pyloudnorm
import pytest
import soundfile

from dualdub_jax.config import GridConfig
from dualdub_jax.dsp.true_peak import true_peak_dbtp
from dualdub_jax.dubbing.dub import DualDub
from dualdub_jax.dubbing.project import Project
from dualdub_jax.dubbing.region import parse_region
from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.dubbing.stems import PEAK_CEILING
from dualdub_jax.dubbing.take_tracks import decode, decoded_files
from dualdub_jax.errors import UserError
from tests.dubbing.test_resume import SRT, dub, sounds
from tests.fake_engine import FakeEngine
from tests.films import make_film


class Restless(FakeEngine):
    """Its background depends on the seed as well."""

    def generate(self, **arguments):
        made = super().generate(**arguments)
        if "background" in made:
            num_given = len(arguments["context"].get("background", ()))
            rng = np.random.default_rng(arguments["seed"])
            made["background"][num_given:, 0] = rng.integers(0, 256, len(made["background"]))[num_given:]
        return made


@pytest.fixture
def film(tmp_path) -> pathlib.Path:
    (tmp_path / "s.srt").write_text(SRT)
    return make_film(tmp_path / "film.mp4", num_frames=300)


@pytest.fixture
def project(film) -> Project:
    made = dub(DubRequest(film, film.with_name("s.srt"), seed=5), film.with_name("p"), Restless())
    return made


def tracks(project: Project) -> dict[str, np.ndarray]:
    return {name: soundfile.read(track.path, dtype="int16")[0] for name, track in project.tracks.items()}


def differing(old: dict[str, np.ndarray], new: dict[str, np.ndarray], name: str) -> tuple[int, int]:
    """First and last sample that differ."""
    (where,) = np.nonzero((old[name] != new[name]).reshape(len(old[name]), -1).any(axis=1))
    return where[0], where[-1]


@pytest.mark.parametrize(
    "region", [(0.0, 1.0), (1.51, 2.49), (3.9, 4.1), (2.0, 7.7), (11.0, 12.0), (0.0, 12.0), (6.2, 6.3)]
)
def test_samples_outside_of_the_region_stay(project, region):
    old, parent, old_tokens = tracks(project), project.takes[1], project.take.tokens
    number = project.retake(Restless(), region, seed=9)
    new = tracks(project)
    first, end = (round(time_s * 16_000) for time_s in region)
    for name in old:
        assert len(new[name]) == len(old[name])
        np.testing.assert_array_equal(new[name][:first], old[name][:first])
        np.testing.assert_array_equal(new[name][end:], old[name][end:])
    assert (new["background"][first:end] != old["background"][first:end]).any()
    assert number == project.chosen == 2 and project.mixdown.describe() == parent.mixdown
    np.testing.assert_allclose(
        new["mix"], project.mixdown.mix_gain * (new["speech"].astype(float) + new["background"]), atol=0.5
    )
    for name, tokens in project.take.tokens.items():
        changed = (tokens != old_tokens[name]).any(axis=1)
        frames = np.flatnonzero(changed)
        assert (frames >= 25 * region[0] - 1e-9).all() and (frames + 1 <= 25 * region[1] + 1e-9).all()
    assert project.take.region_s == pytest.approx(region)
    assert (project.takes[2].parent, project.takes[2].seed) == (1, 9)


def test_a_cue_is_its_utterance_with_the_tolerance(project):
    old = tracks(project)
    project.retake(Restless(), cue=2)
    new = tracks(project)
    assert project.take.region_s == pytest.approx((5.92, 8.08)) and project.take.seed == 6
    first, last = differing(old, new, "speech")
    assert first >= 5.92 * 16_000 and last < 8.08 * 16_000
    assert project.spoken[0] == project.takes[1].spoken[0]
    assert project.spoken[1].span_s is not None


def test_equal_seeds_and_regions_give_equal_samples(project, film):
    project.retake(Restless(), (1.0, 3.0), seed=3)
    one = sounds(project)
    project.choose(1)
    project.retake(Restless(), (1.0, 3.0), seed=4)
    assert sounds(project) != one
    project.choose(1)
    project.retake(Restless(), (1.0, 3.0), seed=3)
    assert sounds(project) == one
    with Project.open(project.folder) as opened:
        assert opened.chosen == 4 and sounds(opened) == one
        opened.choose(1)
        opened.retake(Restless(), (1.0, 3.0), seed=3)
        assert sounds(opened) == one


def test_a_retake_of_a_retake_keeps_the_first(project):
    project.retake(Restless(), (1.0, 2.0))
    first = tracks(project)
    project.retake(Restless(), (7.0, 8.0))
    second = tracks(project)
    assert [take.seed for take in project.takes.values()] == [5, 6, 7] and project.takes[3].parent == 2
    for name in first:
        np.testing.assert_array_equal(second[name][: 7 * 16_000], first[name][: 7 * 16_000])


def test_the_model_is_conditioned_on_what_is_before(project):
    engine = Restless()
    tokens = project.take.tokens
    project.retake(engine, (3.4, 5.0), seed=9)
    for call in engine.calls:
        window = next(w for w in project.windows if w.num_new + w.num_context == call["num_frames"])
        assert window is not None
    # The first call begins inside its window, whose own tokens are given as far as the region.
    window = next(w for w in project.windows if w.end_frame > 85)
    assert len(engine.calls[0]["context"]["speech"]) == 85 - window.first_frame
    np.testing.assert_array_equal(
        engine.calls[0]["context"]["background"], tokens["background"][window.first_frame : 85]
    )


def test_loud_new_sound_is_lowered_alone(film):
    project = dub(DubRequest(film, film.with_name("s.srt")), film.with_name("p"), Restless(loudness=0.3))
    old = tracks(project)
    project.retake(Restless(loudness=3.0), (1.0, 2.0))
    new = tracks(project)
    for name in old:
        assert np.abs(new[name]).max() <= 32768 * PEAK_CEILING + 1
        np.testing.assert_array_equal(new[name][:16_000], old[name][:16_000])
        np.testing.assert_array_equal(new[name][32_000:], old[name][32_000:])
    assert np.abs(new["mix"][17_000:31_000]).max() > 0.8 * 32768
    np.testing.assert_allclose(
        new["mix"], project.mixdown.mix_gain * (new["speech"].astype(float) + new["background"]), atol=0.5
    )


@pytest.mark.parametrize("region", [(0.0, 2.0), (3.2, 8.3), (11.0, 12.0)])
def test_the_true_peak_that_was_asked_for_holds_in_a_retake(film, region):
    request = DubRequest(film, film.with_name("s.srt"), mix={"true_peak": -6.0, "duck": 3.0})
    project = dub(request, film.with_name("p"), Restless(loudness=0.2))
    old, before = tracks(project), project.mixdown.describe()
    number = project.retake(Restless(loudness=0.8), region, seed=9)
    new = tracks(project)
    mix = new["mix"] / 32768.0
    assert -6.8 < true_peak_dbtp(mix) <= -6.0
    assert project.mixdown.loudness.true_peak_dbtp == pytest.approx(true_peak_dbtp(mix), abs=0.01)
    assert project.mixdown.loudness.after_lufs > before["loudness"]["after_lufs"]
    first, end = (round(16_000 * time_s) for time_s in region)
    for name in old:
        np.testing.assert_array_equal(new[name][:first], old[name][:first])
        np.testing.assert_array_equal(new[name][end:], old[name][end:])
    # The new sound alone is lowered, with a warning.
    (warning,) = project.takes[number].warnings
    assert (
        f"from {region[0]:g} s to {region[1]:g} s is" in warning and "dB softer than it was made" in warning
    )
    assert warning in project.warnings
    np.testing.assert_allclose(project.mixdown.part(0, len(mix)), mix, atol=0.6 / 32768)


def test_warnings_of_a_mix_are_those_of_its_take(film):
    """A limiter that cuts deeply is named with its figure; after another retake, the old one is not."""
    request = DubRequest(film, film.with_name("s.srt"), mix={"lufs": -12.0, "true_peak": -12.0})
    project = dub(request, film.with_name("p"), Restless())
    (first,) = [warning for warning in project.warnings if "limiter" in warning or "LUFS" in warning]
    for seed in (8, 9):
        project.retake(Restless(loudness=0.9), (5.5, 7.0), seed=seed)
        (told,) = [warning for warning in project.warnings if "limiter" in warning or "LUFS" in warning]
        assert told != first and (f"{project.mixdown.loudness.limited_db:.1f} dB" in told) == (
            "limiter" in told
        )
    project.choose(1)
    assert first in project.warnings


def test_no_jumps_at_the_ends_of_the_region(project):
    old = tracks(project)
    project.retake(Restless(), (8.5, 9.7), seed=9)
    new = tracks(project)
    change = new["background"].astype(float) - old["background"]
    first, end = int(8.5 * 16_000), int(9.7 * 16_000)
    # The change is faded over 20 ms at both ends.
    for edge in (change[first : first + 16], change[end - 16 : end]):
        assert np.abs(edge).max() < 0.05 * np.abs(change).max()


@pytest.mark.parametrize(
    ("frame_rate", "rates_hz"),
    [("25/2", {"speech": 16_000, "background": 16_000}), (40, {"speech": 24_000, "background": 16_000}),
     ("44100/2048", {"speech": 44_100, "background": 44_100})],
)  # fmt: skip
def test_any_grid_and_rates(tmp_path, frame_rate, rates_hz):
    rate_hz = rates_hz["speech"]
    grid = GridConfig(frame_rate_hz=frame_rate, sample_rate_hz=rates_hz["background"])
    engine = Restless(grid=grid, rates_hz=rates_hz)
    source = make_film(tmp_path / "film.mp4", num_frames=301, rate=Fraction(24000, 1001))
    project = dub(DubRequest(source, "hello there. and then some."), tmp_path / "p", engine)
    old = tracks(project)
    project.retake(Restless(grid=grid, rates_hz=rates_hz), (5.1, 7.3), seed=9)
    new = tracks(project)
    for name in ("background", "mix"):
        first, last = differing(old, new, name)
        assert 5.1 * rate_hz <= first <= 5.3 * rate_hz and 7.1 * rate_hz <= last < 7.3 * rate_hz
    # What was decoded in its surroundings is what the whole track is.
    whole = dub(DubRequest(source, "hello there. and then some."), tmp_path / "q", engine)
    whole.take = project.take
    with decoded_files(whole) as files:
        decode(whole, engine, files, lambda part: None)
        inside = slice(int(5.13 * rate_hz), int(7.27 * rate_hz))
        background = files["background"][inside] * project.mixdown.stem_gain
    np.testing.assert_allclose(new["background"][inside] / 32768, background, atol=2 / 32768)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ({"region": (5.0, 5.0)}, r"region 5-5: is empty"),
        ({"region": (5.0, 4.0)}, r"region 5-4: is empty"),
        ({"region": (float("nan"), 4.0)}, r"region nan-4: is empty"),
        ({"region": (5.0, 5.05)}, r"region 5-5.05: is shorter than 0.1 s"),
        ({"region": (-1.0, 4.0)}, r"region -1-4: is not inside the film, which is 12.000 s long"),
        ({"region": (11.0, 12.5)}, r"region 11-12.5: is not inside the film, which is 12.000 s long"),
        ({"cue": 3}, r"cue 3: the script has cues 1 to 2; give one of them"),
        ({"cue": 0}, r"cue 0: the script has cues 1 to 2; give one of them"),
        ({}, r"give either a region"),
        ({"region": (1.0, 2.0), "cue": 1}, r"give either a region"),
    ],
)
def test_regions_that_are_none(project, region, message):
    before = sorted(project.folder.rglob("*"))
    with pytest.raises(UserError, match=message):
        project.retake(Restless(), **region)
    assert sorted(project.folder.rglob("*")) == before and project.chosen == 1


def test_a_script_without_times_has_no_cues(tmp_path):
    film = make_film(tmp_path / "film.mp4")
    project = dub(DubRequest(film, "hello"), tmp_path / "p", Restless())
    with pytest.raises(UserError, match=r"cue 1: the script has no cues"):
        project.retake(Restless(), cue=1)


def test_another_model_is_refused(project):
    with pytest.raises(UserError, match="was made with another model or other waveform decoders"):
        project.retake(Restless(rates_hz={"speech": 24_000, "background": 16_000}), (1.0, 2.0))


def test_a_retake_that_fails_leaves_the_project_as_it_was(project):
    before = {path: path.read_bytes() for path in project.folder.rglob("*") if path.is_file()}
    engine = Restless()
    engine.open_decoder = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        project.retake(engine, (1.0, 2.0))
    assert {path: path.read_bytes() for path in project.folder.rglob("*") if path.is_file()} == before
    assert Project.open(project.folder).chosen == 1


def test_a_soundtrack_is_retaken_in_place(film, tmp_path):
    model = DualDub(Restless(), tmp_path / "checkpoint")
    made = model.dub(film, str(film.with_name("s.srt")))
    old = made.mix
    made.retake((1.0, 2.0))
    np.testing.assert_array_equal(made.mix[32_000:], old[32_000:])
    assert (made.mix[16_000:32_000] != old[16_000:32_000]).any()
    made.choose(1)
    np.testing.assert_array_equal(made.mix, old)
    made.retake(cue=1, seed=8)
    made.write(tmp_path / "out.mp4")
    assert made.receipt()["seed"] == 8


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("12.0-15.5", {"region": (12.0, 15.5)}),
        (" 0 - 3 ", {"region": (0.0, 3.0)}),
        ("1:02-1:05.5", {"region": (62.0, 65.5)}),
        ("1:00:00-1:00:02", {"region": (3600.0, 3602.0)}),
        ("cue:7", {"cue": 7}),
        ("CUE: 12", {"cue": 12}),
    ],
)
def test_regions_are_parsed(text, parsed):
    assert parse_region(text) == parsed


@pytest.mark.parametrize("text", ["", "12", "12-", "a-b", "cue:", "cue:x", "-1-3", "1-2-3", "cue:-1"])
def test_what_is_no_region_is_said(text):
    with pytest.raises(UserError, match=r"--retake: expected start and end in seconds, such as 12.0-15.5"):
        parse_region(text)


@pytest.mark.parametrize(
    "mix", [{"lufs": -16.0}, {"duck": 9.0}, {"lufs": -23.0, "true_peak": -3.0, "duck": 6.0}, {"kept": -6.0}]
)
def test_the_mix_keeps_its_gains(film, mix):
    if "kept" in mix:
        rng = np.random.default_rng(0)
        soundfile.write(film.with_name("music.wav"), 0.4 * rng.uniform(-1, 1, (500_000, 2)), 44_100)
        mix = {"keep_original": {film.with_name("music.wav"): mix["kept"]}}
    request = DubRequest(film, film.with_name("s.srt"), mix=mix)
    dub(request, film.with_name("p"), Restless())
    with Project.open(film.with_name("p")) as project:
        old, described = tracks(project), project.mixdown.describe()
        before = described.pop("loudness")
        project.retake(Restless(loudness=0.9), (5.5, 7.0))
        new, rate_hz = tracks(project), project.sample_rate_hz
        again = project.mixdown.describe()
        after = again.pop("loudness")
        assert again == described and list(new) == list(old)
        if before is not None:  # the gains stay, and the loudness is that of the new mix
            samples = new["mix"].astype(float) / 32768
            measured = pyloudnorm.Meter(rate_hz).integrated_loudness(samples)
            assert after["after_lufs"] == pytest.approx(measured, abs=0.05)
            assert after["before_lufs"] == before["before_lufs"] and after != before
            is_off = abs(measured - mix["lufs"]) > 0.5
            assert any("a retake keeps the gains" in warning for warning in project.warnings) == is_off
        for name in old:
            np.testing.assert_array_equal(new[name][: int(5.5 * rate_hz)], old[name][: int(5.5 * rate_hz)])
            np.testing.assert_array_equal(new[name][7 * rate_hz :], old[name][7 * rate_hz :])
        inside = slice(int(5.55 * rate_hz), int(6.95 * rate_hz))
        mixed = project.mixdown.part(inside.start, inside.stop)
        np.testing.assert_array_equal(np.round(mixed * 32768), new["mix"][inside])
        if "original" in old:
            np.testing.assert_array_equal(new["original"], old["original"])
        assert np.abs(new["mix"].astype(float)).max() <= 32768 * PEAK_CEILING + 1


def test_each_speaker_keeps_the_own_voice(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("ann", "bob"):
        soundfile.write(tmp_path / f"{name}.wav", 0.2 * rng.uniform(-1, 1, 32_000), 16_000)
    cues = (
        "1\n00:00:01,000 --> 00:00:03,000\nANN: hello you\n\n2\n00:00:05,000 --> 00:00:07,000\nBÖB: and me\n"
    )
    (tmp_path / "s.srt").write_text(cues)
    voices = {"Ann": tmp_path / "ann.wav", "böb": tmp_path / "bob.wav"}
    film = make_film(tmp_path / "film.mp4", num_frames=250)
    dub(DubRequest(film, tmp_path / "s.srt", voices=voices), tmp_path / "p", Restless())
    for path in voices.values():
        path.unlink()
    engine = Restless()
    with Project.open(tmp_path / "p") as project:
        old = tracks(project)
        project.retake(engine, cue=2)
        new = tracks(project)
    np.testing.assert_array_equal(engine.calls[0]["voice"], project.voices["böb"])
    first, last = differing(old, new, "speech")
    assert first >= 4.92 * 16_000 and last < 7.08 * 16_000
