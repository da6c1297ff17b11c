"""The quality of a soundtrack, its verdict, and both in receipt and report."""

import dataclasses
import json

import numpy as np
import pytest
import soundfile

from dualdub_jax.dubbing.dub import DualDub
from dualdub_jax.dubbing.recognition import GhostWords, RecognisedWords, Recognition
from dualdub_jax.media.track import WavWriter
from tests.fake_engine import FakeEngine
from tests.films import make_film

_CUES = "1\n00:00:00,500 --> 00:00:02,500\nhello there you\n\n2\n00:00:06,000 --> 00:00:08,000\nfine day\n"


@pytest.fixture
def dub(tmp_path):
    def make(script: str = _CUES, engine: FakeEngine | None = None, **settings):
        film = make_film(tmp_path / "film.mp4", num_frames=250)
        (tmp_path / "cues.srt").write_text(script)
        model = DualDub(engine or FakeEngine(), tmp_path / "checkpoint")
        return model.dub(film, tmp_path / "cues.srt" if script else "", **settings)

    return make


def _replace(made, name: str, change) -> None:
    """Writes a finished track anew."""
    track = made.project.tracks[name]
    samples = change(np.array(track[:]))
    with WavWriter(track.path, track.sample_rate_hz) as writer:
        writer.write(samples)


def _words(asked: str, dropped: str = "", added: str = "") -> RecognisedWords:
    count = max(len(dropped.split()), len(added.split()))
    return RecognisedWords(asked, *(tuple(t.split()) for t in (asked, dropped, added)), (), count)


def _recogniser(*utterances, ghosts=()):
    return lambda project, advance: Recognition({"ears": "1"}, utterances, ghosts)


def test_good(dub):
    made = dub()
    found = _recogniser(_words("hello there you"), _words("fine day"))
    assert made.quality(found).verdict == "2 of 2 cues on time, 0 of 5 words differ, no clipping: good"
    assert made.quality().verdict == "2 of 2 cues on time, words not checked, no clipping: good"


def test_words_that_differ_are_named_by_their_cue(dub):
    quality = dub().quality(_recogniser(_words("hello there you"), _words("fine day", "day")))
    assert quality.verdict == "2 of 2 cues on time, 1 of 5 words differ, no clipping: check cue 2"


def test_a_cue_of_two_speakers_is_one_cue(dub, tmp_path):
    soundfile.write(tmp_path / "v.wav", 0.2 * np.sin(np.arange(16_000) / 9), 16_000)
    voices = dict.fromkeys(("MARY", "JOHN"), tmp_path / "v.wav")
    made = dub(_CUES.replace("hello there you", "MARY: hello\nJOHN: you"), voices=voices)
    assert len(made.project.spoken) == 3
    assert made.quality().verdict.startswith("2 of 2 cues on time")
    made.project.spoken = (dataclasses.replace(made.project.spoken[0], span_s=None), *made.project.spoken[1:])
    assert made.quality().verdict.startswith("1 of 2 cues on time")


def test_an_inaudible_cue_is_late_and_a_gap(dub):
    made = dub()
    spoken = (made.project.spoken[0], dataclasses.replace(made.project.spoken[1], span_s=None))
    made.project.spoken = spoken
    quality = made.quality(_recogniser(_words("hello there you"), None))
    assert quality.verdict.startswith("1 of 2 cues on time, 0 of 3 words differ, no clipping, 2.0 s silent")
    assert quality.verdict.endswith(": check cue 2, speech at 6.0 s")
    assert quality.describe_utterance(1)["recognised"] == ""


def test_silence_where_sound_is_due(dub):
    made = dub()

    def silenced(samples):
        samples[3 * 16_000 : 5 * 16_000] = 0
        return samples

    _replace(made, "background", silenced)
    quality = made.quality()
    assert [(gap.track, gap.start_s, gap.end_s) for gap in quality.gaps] == [("background", 3.0, 5.0)]
    assert "2.0 s silent where sound is due: check background at 3.0 s" in quality.verdict


def test_a_pause_inside_an_utterance_is_a_gap(dub):
    made = dub("1\n00:00:01,000 --> 00:00:05,000\n" + "many words are here to be spoken now\n")

    def paused(samples):
        samples[2 * 16_000 : round(3.5 * 16_000)] = 0
        return samples

    _replace(made, "speech", paused)
    assert [gap.track for gap in made.quality().gaps] == ["speech"]


def test_a_track_that_is_switched_off_has_no_gaps(dub):
    assert not dub("", use_background=True).quality().gaps
    assert not dub(use_background=False).quality().gaps


def test_clipping(dub):
    made = dub()
    _replace(made, "mix", lambda samples: np.clip(20 * samples, -0.9, 0.9))
    assert "samples clipped: check the mix" in made.quality().verdict


def test_deep_limiting_is_in_verdict_receipt_and_warnings(dub):
    made = dub(mix={"lufs": -10, "true_peak": -9})
    limited_db = made.project.mixdown.loudness.limited_db
    assert limited_db > 6
    receipt = made.receipt()
    assert f"peaks limited by up to {limited_db:.1f} dB: check the mix" in receipt["verdict"]
    assert receipt["loudness"]["limited_db"] == limited_db
    assert any(f"by up to {limited_db:.1f} dB" in warning for warning in receipt["warnings"])
    gentle = dub(mix={"lufs": -23})
    assert "limited" not in gentle.quality().verdict and gentle.project.warnings == ()


def test_ghost_words(dub):
    ghost = GhostWords("background", 0.0, 10.0, ("thank", "you"))
    quality = dub("").quality(_recogniser(ghosts=(ghost,)))
    assert quality.verdict == "no clipping, 2 words where none is due: check background at 0.0 s"


def test_many_faults_are_not_all_named(dub):
    ghosts = tuple(GhostWords("background", float(i), i + 1.0, ("oh",)) for i in range(9))
    assert dub("").quality(_recogniser(ghosts=ghosts)).verdict.endswith("background at 4.0 s and 4 more")


def test_receipt_and_report_have_the_words_and_the_levels(dub, tmp_path):
    made = dub()
    found = _recogniser(_words("hello there you"), _words("fine day", "day", "day day"))
    quality = made.quality(found)
    made.write(tmp_path / "out.mp4", receipt=tmp_path / "r.json", report=tmp_path / "r.html", quality=quality)
    receipt = json.loads((tmp_path / "r.json").read_text())
    assert receipt["verdict"] == quality.verdict and receipt["command"] is None
    assert receipt["recognisers"] == {"ears": "1"} and receipt["ghost_words"] == []
    second = receipt["speech"][1]
    assert second["recognised"] == "fine day" and second["dropped"] == ["day"]
    assert second["added"] == ["day", "day"] and second["num_different"] == 2
    duration_s = second["end_s"] - second["start_s"]
    assert second["spoken_letters_per_s"] == pytest.approx(len("fine day") / duration_s)
    assert set(receipt["tracks"]) == {"speech", "background", "mix"}
    assert -60 < receipt["tracks"]["mix"]["loudness_lufs"] < 0
    page = (tmp_path / "r.html").read_text()
    assert quality.verdict in page and "LUFS" in page and "<td>day day</td>" in page


def test_receipt_says_that_words_were_not_checked(dub):
    receipt = dub().receipt()
    assert receipt["recognisers"] is None and receipt["no_recognition"] == "not asked for"
    assert [spoken["recognised"] for spoken in receipt["speech"]] == [None, None]
