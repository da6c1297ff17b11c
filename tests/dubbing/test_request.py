"""Requests are checked before any model work."""

import pathlib

import numpy as np
import pytest

from dualdub_jax.config import SamplingConfig
from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.errors import UserError


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"use_speech": False, "use_background": False}, "--no-speech and --no-background: nothing is left"),
        ({"rt60_s": 9.0}, r"rt60_s \(--rt60\) is 9: choose from 0\.05 to 3\.2"),
        ({"noise_dbfs": float("nan")}, r"noise_dbfs \(--noise\) is nan: choose from -80 to -20"),
        ({"seed": -1}, r"seed \(--seed\) is -1: give a whole number from 0"),
        ({"seed": 1.5}, r"seed \(--seed\) is 1.5"),
        (
            {"sampling": {"temperature": 1.0}},
            "sampling: no setting temperature; there are speech_temperature, ",
        ),
        ({"seed": "7"}, r"seed \(--seed\) is '7': give a whole number from 0"),
        ({"seed": True}, r"seed \(--seed\) is True"),
        ({"takes": 0}, r"takes \(--takes\) is 0: give a whole number from 1 to 999"),
        ({"takes": None}, r"takes \(--takes\) is None"),
        ({"rt60_s": "long"}, r"rt60_s \(--rt60\) is 'long': choose from 0\.05 to 3\.2 s"),
        ({"max_rate": "fast"}, r"max_rate \(--max-rate\) is 'fast': give a factor"),
        ({"max_rate": float("inf")}, r"max_rate \(--max-rate\) is inf: give a factor"),
        ({"use_speech": "no"}, r"use_speech \(--no-speech\) is 'no': give True or False"),
        ({"mix": 3}, "mix is a int; give settings by name"),
        ({"sampling": [1]}, "sampling is a list; give settings by name"),
        ({"sampling": {"speech_top_p": 0}}, r"speech_top_p .* is 0: give a number from 1e-06 to 1"),
        ({"sampling": {"speech_temperature": "hot"}}, "is 'hot': give a number of at least 0"),
        ({"sampling": {"background_top_k": 1.5}}, "is 1.5: give a whole number from 0"),
        ({"sampling": SamplingConfig(guidance_scale=-1.0)}, r"guidance_scale \(--guidance-scale\) is -1"),
        ({"voices": ["ann.wav"]}, "voices is a list; give recordings by name"),
        ({"voice": "gone.wav"}, "gone.wav: no such file; give the path of a sound file"),
    ],
)
def test_what_cannot_be_met_is_refused(asked, message):
    with pytest.raises(UserError, match=message):
        DubRequest("film.mp4", script="hello", **asked).check()


def test_paths_may_be_strings_and_inputs_are_listed():
    request = DubRequest("film.mp4", "words.txt", "voice.wav")
    assert request.inputs == tuple(map(pathlib.Path, ("film.mp4", "voice.wav", "words.txt")))
    assert request == DubRequest(pathlib.Path("film.mp4"), "words.txt", pathlib.Path("voice.wav"))
    assert DubRequest("film.mp4").inputs == (pathlib.Path("film.mp4"),)


def test_a_script_is_text_or_a_path_that_exists(tmp_path):
    assert DubRequest("film.mp4", script=None).script == ""
    (tmp_path / "words").touch()
    assert DubRequest("film.mp4", script=tmp_path / "words").script == str(tmp_path / "words")
    with pytest.raises(UserError, match="gone: no such script file"):
        DubRequest("film.mp4", script=pathlib.Path("gone"))
    with pytest.raises(UserError, match="script is a list; give text or the path of a file"):
        DubRequest("film.mp4", script=["hello"])


def test_sampling_is_that_of_the_checkpoint_where_nothing_is_asked():
    defaults = SamplingConfig(speech_temperature=0.9, background_top_k=7)
    assert DubRequest("film.mp4").sampling_with(defaults) == defaults
    replaced = DubRequest("film.mp4", sampling={"background_top_k": 3}).sampling_with(defaults)
    assert replaced == SamplingConfig(speech_temperature=0.9, background_top_k=3)
    assert DubRequest("film.mp4", sampling=SamplingConfig()).sampling_with(defaults) == SamplingConfig()


def test_numbers_of_other_libraries_are_numbers():
    request = DubRequest("film.mp4", seed=np.int64(3), takes=np.int32(2), rt60_s=np.float32(0.5))
    request.check()
    assert [type(value) for value in (request.seed, request.takes, request.rt60_s)] == [int, int, float]


def test_acoustics_are_those_asked_for():
    assert DubRequest("film.mp4").acoustics == {}
    assert DubRequest("film.mp4", noise_dbfs=-50).acoustics == {"noise_dbfs": -50.0}
