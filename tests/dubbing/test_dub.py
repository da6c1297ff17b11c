"""The way from film to soundtrack, with a stand-in for the model."""

import json
import pathlib
import wave
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from dualdub_jax.config import SamplingConfig
from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.dubbing.dub import DualDub
from dualdub_jax.dubbing.progress import Progress
from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.errors import UserError
from tests.fake_engine import FakeEngine
from tests.films import decode_audio, make_film, read_film, video_packets


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def model(engine, tmp_path) -> DualDub:
    return DualDub(engine, tmp_path / "checkpoint")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {"rate": Fraction(24000, 1001), "num_frames": 61}),
        ("b.mkv", {"rate": Fraction(30000, 1001), "num_frames": 200}),
        ("c.mp4", {"times": [Fraction(i * i, 500) for i in range(30)], "num_frames": 30,
                   "time_base": Fraction(1, 1000)}),
    ],
)  # fmt: skip
def test_tracks_are_as_long_as_the_film(tmp_path, model, name, options):
    made = model.dub(make_film(tmp_path / name, **options), script="hello there")
    expected = round(made.film.duration_s * 16_000)
    if "times" not in options:
        assert expected == round(options["num_frames"] / options["rate"] * 16_000)
    assert made.speech.shape == made.background.shape == made.mix.shape == (expected,)
    made.write(tmp_path / "out.mp4", stems=tmp_path / "stems")
    for stem in ("speech.wav", "background.wav", "mix.wav"):
        with wave.open(str(tmp_path / "stems" / stem)) as file:
            assert file.getnframes() == expected and file.getframerate() == 16_000


def test_windows_carry_context_and_share_the_script(tmp_path, engine, model):
    film = make_film(tmp_path / "film.mp4", num_frames=240)
    made = model.dub(film, script="first things first. then all the others come along at last.", seed=5)
    assert [call["script"] for call in engine.calls] == [
        "first things first",
        "then all the others come along at last",
        "",
    ]
    assert [call["num_frames"] for call in engine.calls] == [100, 100, 90]
    assert [len(call["context"].get("speech", ())) for call in engine.calls] == [0, 25, 25]
    assert len({call["seed"] for call in engine.calls}) == 3 and engine.calls[0]["seed"] == 5
    assert made.project.num_frames == 240
    # The pitch of each frame's tone is the brightness that the model saw there: all frames, in order.
    frames = made.background.reshape(240, 640)
    peaks_hz = np.abs(np.fft.rfft(frames, 16_000, axis=1)).argmax(axis=1)
    np.testing.assert_allclose(peaks_hz, 1200 + 4.0 * read_film(film).frames[:, 32, 32, 0], atol=3)


def test_context_is_what_the_window_before_made(tmp_path, engine, model):
    film = make_film(tmp_path / "film.mp4", num_frames=180)
    made: list[dict[str, np.ndarray]] = []
    original = engine.generate

    def generate(**kwargs):
        made.append(original(**kwargs))
        return made[-1]

    engine.generate = generate
    model.dub(film, script="one")
    for name in ("speech", "background"):
        np.testing.assert_array_equal(engine.calls[1]["context"][name], made[0][name][-25:])


def test_equal_seeds_give_equal_tracks(tmp_path, model):
    film = make_film(tmp_path / "film.mp4")
    one, same, other = (model.dub(film, script="hello", seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.mix, same.mix)
    assert not np.array_equal(one.mix, other.mix)


@pytest.mark.parametrize(
    ("options", "silent", "audible"),
    [
        ({"script": "hello", "use_speech": False}, "speech", "background"),
        ({"script": "hello", "use_background": False}, "background", "speech"),
        ({"script": ""}, "speech", "background"),
        ({"script": " \n"}, "speech", "background"),
    ],
)
def test_a_track_that_is_off_is_zero_and_not_in_the_mix(tmp_path, engine, model, options, silent, audible):
    made = model.dub(make_film(tmp_path / "film.mp4"), **options)
    assert not getattr(made, silent).any()
    assert getattr(made, audible).any()
    np.testing.assert_array_equal(made.mix, getattr(made, audible))
    if silent == "speech":
        assert engine.calls[0]["script"] == ""


def test_a_film_has_one_acoustics(tmp_path, engine, model):
    made = model.dub(make_film(tmp_path / "film.mp4", num_frames=240), script="one", seed=3)
    assert [call["acoustics"] for call in engine.calls] == [Acoustics(0.4, -53.0)] * 3
    assert made.receipt()["acoustics"] == [{"start_s": 0.0, "end_s": 9.6, "rt60_s": 0.4, "noise_dbfs": -53.0}]


def test_requested_acoustics_replace_sampled_ones(tmp_path, engine, model):
    model.dub(make_film(tmp_path / "film.mp4"), script="one", rt60_s=0.9)
    model.dub(make_film(tmp_path / "film.mp4"), script="one", noise_dbfs=-30)
    assert [call["acoustics"] for call in engine.calls] == [Acoustics(0.9, -50.0), Acoustics(0.4, -30.0)]


@pytest.mark.parametrize(
    ("asked", "has_acoustics", "message"),
    [
        ({"rt60_s": 9.0}, True, r"rt60_s \(--rt60\) is 9: choose from 0\.05 to 3\.2"),
        ({"noise_dbfs": float("nan")}, True, r"noise_dbfs \(--noise\) is nan: choose from -80 to -20"),
        (
            {"noise_dbfs": -40.0},
            False,
            r"noise_dbfs: the model of .*checkpoint is not conditioned on acoustics",
        ),
    ],
)
def test_acoustics_that_cannot_be_had_are_refused(tmp_path, asked, has_acoustics, message):
    model = DualDub(FakeEngine(has_acoustics=has_acoustics), tmp_path / "checkpoint")
    with pytest.raises(UserError, match=message):
        model.dub(make_film(tmp_path / "film.mp4"), script="one", **asked)


def test_a_model_without_acoustics_needs_none(tmp_path):
    engine = FakeEngine(has_acoustics=False)
    made = DualDub(engine, tmp_path / "checkpoint").dub(make_film(tmp_path / "film.mp4"), script="one")
    assert engine.calls[0]["acoustics"] is None and made.receipt()["acoustics"] is None


def test_nothing_to_make_is_bad_usage(tmp_path, model):
    with pytest.raises(UserError, match="nothing to generate, for there is no speech and the background is"):
        model.dub(make_film(tmp_path / "film.mp4"), use_background=False)


def test_sampling_and_voice_reach_the_model(tmp_path, engine, model):
    voice = tmp_path / "voice.wav"
    soundfile.write(voice, 0.2 * np.sin(np.arange(16_000) / 10), 16_000)
    film = make_film(tmp_path / "film.mp4")
    model.dub(film, script="hello", voice=voice, sampling=SamplingConfig(speech_temperature=0.9))
    model.dub(film, script="hello")
    assert engine.calls[0]["sampling"]["speech_temperature"] == 0.9
    assert engine.calls[0]["voice"].shape == (16_000,)
    assert engine.calls[1]["sampling"]["speech_temperature"] == engine.config.sampling.speech_temperature
    assert engine.calls[1]["voice"] is None


def test_mix_in_the_film_is_the_mix(tmp_path, model):
    source = make_film(tmp_path / "film.mkv", num_b_frames=2, has_audio=True)
    made = model.dub(source, script="hello")
    made.write(tmp_path / "out.mp4")
    assert video_packets(tmp_path / "out.mp4") == video_packets(source)
    samples, rate_hz, first_s = decode_audio(tmp_path / "out.mp4")
    assert rate_hz == 16_000 and first_s == 0
    audible = samples[: len(made.mix)]
    assert np.corrcoef(audible, made.mix)[0, 1] > 0.98


def test_receipt(tmp_path, model):
    film = make_film(tmp_path / "film.mp4", num_frames=150)
    script = tmp_path / "s.txt"
    script.write_text("hello ☃ there")
    made = model.dub(film, script=str(script), seed=9)
    made.write(tmp_path / "out.mkv", receipt=tmp_path / "r.json")
    receipt = json.loads((tmp_path / "r.json").read_text())
    assert receipt["inputs"]["video"]["bytes"] == film.stat().st_size
    assert len(receipt["inputs"]["script"]["sha256"]) == 64 and receipt["inputs"]["voice"] is None
    assert receipt["num_samples"] == 96_000 and receipt["duration_s"] == 6.0
    assert receipt["seed"] == 9 and receipt["sampling"]["background_temperature"] == 0.5
    assert [w["start_frame"] for w in receipt["windows"]] == [0, 100]
    assert 0 < receipt["mix_gain"] <= 1 and receipt["stem_gain"] == 1.0
    assert receipt["warnings"] == [f"{script}: not spoken: characters without pronunciation ☃"]
    assert receipt["unspoken"] == {"characters without pronunciation": ["☃"]}
    assert receipt["versions"]["jax"] and receipt["realtime_factor"] > 0


def test_loud_tracks_do_not_clip(tmp_path):
    model = DualDub(FakeEngine(loudness=0.8), tmp_path)
    made = model.dub(make_film(tmp_path / "film.mp4"), script="hello")
    assert made.project.mixdown.mix_gain < 1 and np.abs(made.mix).max() <= 0.892
    expected = made.project.mixdown.mix_gain * (made.speech.astype(float) + made.background)
    assert np.abs(made.mix - expected).max() <= 0.5 / 32768 + 1e-9


def test_failed_write_leaves_nothing(tmp_path, model, monkeypatch):
    made = model.dub(make_film(tmp_path / "film.mp4"), script="hello")
    folder = tmp_path / "results"
    folder.mkdir()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dualdub_jax.dubbing.stem_files.copy_track", full_disk)
    with pytest.raises(UserError, match=r"speech.wav: the disk is full and nothing was written"):
        made.write(folder / "out.mp4", stems=folder / "stems")
    assert list(folder.iterdir()) == []


def test_progress_measures_every_step(tmp_path, model):
    progress = Progress()
    made = model.dub(make_film(tmp_path / "film.mp4"), script="hello", progress=progress)
    made.write(pathlib.Path(tmp_path / "out.mp4"))
    assert list(progress.seconds) == ["read video", "read inputs", "generate", "decode", "write"]
    assert all(seconds >= 0 for seconds in progress.seconds.values())


def test_no_output_overwrites_an_input_or_another_output(tmp_path, model):
    film = make_film(tmp_path / "film.mp4")
    content = film.read_bytes()
    with pytest.raises(UserError, match=r"film.mp4: is an input and would be overwritten"):
        model.dub(film, out=film)
    made = model.dub(film)
    with pytest.raises(UserError, match=r"film.mp4: is an input and would be overwritten"):
        made.write(film)
    with pytest.raises(UserError, match=r"out.mp4: named for two outputs"):
        made.write(tmp_path / "out.mp4", receipt=tmp_path / "out.mp4")
    assert film.read_bytes() == content and not (tmp_path / "out.mp4").exists()
    made.write(tmp_path / "out.mp4", audio_tracks="mix, speech")
    with av.open(str(tmp_path / "out.mp4")) as copy:
        assert len(copy.streams.audio) == 2


@pytest.mark.parametrize("count", [0, -1, 2.5, "x"])
def test_sizes_of_streams_and_batches_are_checked(tmp_path, model, count):
    film = make_film(tmp_path / "film.mp4")
    with pytest.raises(UserError, match=r"part_frames is .*: give a whole number from 1"):
        model.stream(film, part_frames=count)
    with pytest.raises(UserError, match=r"rows_per_device is .*: give a whole number from 1"):
        list(model.dub_many([DubRequest(film)], rows_per_device=count))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"region": "1-2"}, "region '1-2': give start and end in seconds"),
        ({"region": (1.0,)}, "give start and end in seconds"),
        ({"cue": "a"}, "cue 'a': give the number of a cue"),
        ({"region": (0.5, 1.0), "seed": -1}, r"seed \(--seed\) is -1"),
        ({"region": (0.5, 1.0), "seed": "x"}, "is 'x'"),
    ],
)
def test_what_cannot_be_retaken(tmp_path, model, what, message):
    made = model.dub(make_film(tmp_path / "film.mp4"), "hello")
    with pytest.raises(UserError, match=message):
        made.retake(**what)
