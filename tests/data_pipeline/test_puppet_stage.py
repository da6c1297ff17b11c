"""The world itself: determinism, lengths, splits, and that what is measured is what is seen."""

import io
import json

import av
import numpy as np
import pytest
import soundfile

from dualdub_jax.data_pipeline import record as records
from dualdub_jax.data_pipeline.builders.puppet_stage import acoustics, clip, motion, sentences, sounds, voices
from dualdub_jax.data_pipeline.builders.puppet_stage.canvas import Canvas
from dualdub_jax.data_pipeline.builders.puppet_stage.puppet import draw_puppet
from dualdub_jax.data_pipeline.builders.puppet_stage.things import draw_thing
from dualdub_jax.dsp.acoustics import Acoustics

FRAME = 640  # samples


def _make(task: clip.Task, index: int, split: str = "train") -> clip.Clip:
    return clip.make_clip("tone", task, 0, split, index)


@pytest.fixture(scope="module")
def soundtracks() -> list[clip.Clip]:
    return [_make("soundtrack", index) for index in range(24)]


def _decode(data: bytes) -> np.ndarray:
    with av.open(io.BytesIO(data)) as container:
        assert container.streams.video[0].average_rate == 25
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize("task", clip.TASKS)
def test_a_clip_depends_on_its_arguments_alone(task: clip.Task) -> None:
    record = clip.to_record(_make(task, 5))
    others = [clip.to_record(_make(task, 6)), clip.to_record(clip.make_clip("tone", task, 1, "train", 5))]
    assert clip.to_record(_make(task, 5)) == record
    for other in others:
        media = "speech" if task == "text_speech" else "background"
        assert other[media] != record[media]


def test_encoded_video_is_the_same_bytes_every_time() -> None:
    # Rain is what x264's lookahead was caught deciding differently about.
    rainy = next(c for c in (_make("video_audio", i) for i in range(60)) if "rain" in c.events["continuous"])
    encoded = {clip.encode_video(rainy.frames, 25) for _ in range(12)}
    assert len(encoded) == 1
    error = np.abs(_decode(encoded.pop()).astype(float) - rainy.frames).mean()
    assert error < 8  # of 255; chroma is halved


@pytest.mark.parametrize("task", clip.TASKS)
@pytest.mark.parametrize("index", range(4))
def test_records_keep_the_contract(task: clip.Task, index: int) -> None:
    record = clip.to_record(_make(task, index))
    assert list(record) == list(records.RECORD)
    num_frames = round(record["duration_s"] * 25)
    assert 50 <= num_frames <= 100
    has = {"video": task != "text_speech", "background": task != "text_speech"}
    has |= {"speech": task != "video_audio", "voice": task != "video_audio"}
    for field, expected in has.items():
        assert bool(record[field]) == expected, field
    if record["video"]:
        assert _decode(record["video"]).shape == (num_frames, 64, 64, 3)
    for field in ("speech", "background", "voice"):
        if record[field]:
            samples, rate_hz = soundfile.read(io.BytesIO(record[field]))
            assert rate_hz == 16_000 and samples.ndim == 1
            assert len(samples) == num_frames * FRAME or (field == "voice" and len(samples) <= 48_000)
    assert record["has_script"] == (task != "video_audio")
    assert record["script"] == record["script"].lower() and len(record["script"]) <= 70
    assert json.loads(record["events"])["task"] == task


def test_speech_fits_and_mix_does_not_clip(soundtracks: list[clip.Clip]) -> None:
    for c in soundtracks:
        assert np.abs(c.speech + c.background).max() < 1
        if c.script:
            assert 0 < c.events["speech"]["start_s"] < c.events["speech"]["end_s"] < c.num_frames / 25
            said = [word for word, _, _ in c.events["speech"]["words"]]
            assert " ".join(said) == c.script


def test_without_a_script_the_speech_stem_is_digital_silence_and_the_mouth_closed() -> None:
    silent = [c for c in (_make("soundtrack", i) for i in range(40)) if not c.script]
    assert 1 <= len(silent) <= 12
    for c in silent:
        assert c.has_script and not c.speech.any() and not c.events["mouth"].any()
        assert c.background.any()


def test_unseen_voices_are_in_one_split_only() -> None:
    bank = voices.bank("tone")
    for split in sentences.SPLITS:
        ids = {
            clip._draw_line(np.random.default_rng(i), bank, "text_speech", split).voice_id for i in range(40)
        }
        assert ids == set(bank.unseen if split == "test_unseen" else bank.seen)


@pytest.mark.parametrize("kind", ["grid", "free"])
def test_sentences_of_splits_are_disjoint(kind: sentences.Kind) -> None:
    rng = np.random.default_rng(0)
    drawn = {split: {sentences.draw(rng, split, kind) for _ in range(300)} for split in sentences.SPLITS}
    for a in drawn:
        assert all(len(s) <= sentences.MAX_CHARACTERS for s in drawn[a])
        assert all(sentences.is_grid(s) == (kind == "grid") for s in drawn[a])
        assert not any(drawn[a] & drawn[b] for b in drawn if b != a)
    # Pinned: another assignment would leak test sentences into data that is already built.
    assert sentences.split_of("bin blue at f two now") == "train"


def test_letters_are_spelt_out_and_articles_are_not() -> None:
    assert sentences.spoken_form("bin blue at a two now") == "bin blue at A two now"
    assert sentences.spoken_form("it was a cold and quiet day") == "it was a cold and quiet day"


def test_references_say_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    said = []

    def speech(bank_name: str, voice_id: str, split: str, number: int) -> tuple[str, np.ndarray]:
        said.append(("same", "other", "third")[number % 3])
        return said[-1], np.full(1000, 0.1 * (1 + number % 3), np.float32)

    monkeypatch.setattr(clip, "_reference_speech", speech)
    monkeypatch.setattr(clip, "_REFERENCES_PER_VOICE", 1)
    samples = clip._reference(np.random.default_rng(1), "tone", "tone-0", "train", "same")
    assert said == ["same", "other", "third"]
    assert len(samples) == 2 * 1000 + 3200


def test_impacts_begin_with_the_frame_that_shows_them() -> None:
    errors_s = []
    for index in range(30):
        c = _make("video_audio", index)
        if c.events["continuous"]:
            continue
        level = np.sqrt(np.mean(c.background.reshape(-1, FRAME // 8) ** 2, axis=1))
        for contact in c.events["contacts"]:
            at = contact["frame"] * 8
            if contact["speed"] > 0.5 and 16 <= at < len(level) - 16:
                rise = np.argmax(np.diff(level[at - 16 : at + 16])) + 1 - 16
                errors_s.append(rise / 200)
    assert len(errors_s) > 20
    assert np.mean(np.abs(errors_s) <= 1 / 25) > 0.95
    assert np.median(errors_s) == 0


def test_loudness_follows_visible_speed() -> None:
    for kind in sounds.IMPACTS:
        slow, fast = (sounds.impact(kind, np.random.default_rng(0), 1.0, speed) for speed in (0.4, 0.8))
        np.testing.assert_allclose(2 * slow, fast, rtol=1e-4, atol=1e-6)


def test_impact_classes_sound_different() -> None:
    def spectrum(kind: str, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        samples = np.zeros(16_000)
        hit = sounds.impact(kind, rng, rng.uniform(0.87, 1.15), 1.0)[:16_000]
        samples[: len(hit)] = hit
        power = np.abs(np.fft.rfft(samples)) ** 2
        bands = np.add.reduceat(power, np.geomspace(40, 7900, 25).astype(int))
        return np.log(bands / bands.sum() + 1e-4)

    centres = {kind: np.mean([spectrum(kind, s) for s in range(8)], axis=0) for kind in sounds.IMPACTS}
    for kind in sounds.IMPACTS:
        for seed in range(100, 110):
            measured = spectrum(kind, seed)
            assert min(centres, key=lambda k: np.sum((centres[k] - measured) ** 2)) == kind


@pytest.mark.parametrize("seed", range(6))
def test_gaps_close_at_contacts_and_only_there(seed: int) -> None:
    for contacts, gap in (
        motion.strikes(np.random.default_rng(seed), 90, taken=[]),
        motion.bounces(np.random.default_rng(seed), 90),
    ):
        assert contacts
        for contact in contacts:
            assert gap[contact.frame] == 0
            assert gap[contact.frame - 1] > 0.5
        assert (gap >= 0).all()
    contacts, _ = motion.strikes(np.random.default_rng(seed), 90, taken=[30, 60])
    assert all(abs(contact.frame - other) > 4 for contact in contacts for other in (30, 60))


def test_a_contact_is_seen_in_its_frame() -> None:
    for kind in sounds.IMPACTS:
        contact, gap = motion.Contact(10, 1.0, 6.0), np.full(20, 4.0)
        gap[10] = 0
        film, without = (Canvas(np.full((20, 64, 64, 3), 0.3, np.float32)) for _ in range(2))
        draw_thing(film, np.random.default_rng(0), kind, 32.0, 56.0, gap, [contact])
        draw_thing(without, np.random.default_rng(0), kind, 32.0, 56.0, np.full(20, 4.0), [])
        changed = np.abs(film.pixels - without.pixels).sum(axis=(1, 2, 3))
        assert changed[:10].max() == 0, kind
        assert changed[10] == changed.max() > 10, kind


def test_the_mouth_is_legible() -> None:
    mouth = np.linspace(0, 1, 11)
    canvas = Canvas(np.full((11, 64, 64, 3), 0.5, np.float32))
    draw_puppet(canvas, np.random.default_rng(3), 32.0, 26.0, 22.0, mouth)
    # Rows between nose and chin, at the middle of the face, that are not skin: the smallest face.
    column = canvas.pixels[:, 28:40, 31:33].mean(axis=2)
    skin = canvas.pixels[0, 28, 31:33].mean(axis=0)
    height = (np.abs(column - skin).sum(axis=-1) > 0.5).sum(axis=1)
    assert height[0] <= 2 and height[-1] >= 6
    assert np.corrcoef(mouth, height)[0, 1] > 0.95


def test_the_mouth_follows_the_speech(soundtracks: list[clip.Clip]) -> None:
    for c in soundtracks:
        if c.script:
            loudness = np.sqrt(np.mean(c.speech.reshape(-1, FRAME) ** 2, axis=1)) ** 0.7
            assert np.corrcoef(loudness, c.events["mouth"])[0, 1] > 0.65


@pytest.mark.parametrize("rt60_s", [0.1, 0.4, 0.8])
def test_reverberation_time_is_what_it_says(rt60_s: float) -> None:
    tail = acoustics.impulse_response(np.random.default_rng(0), rt60_s)[1:].astype(np.float64)
    energy_db = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1] / np.sum(tail**2))
    falls = (np.argmax(energy_db < -25) - np.argmax(energy_db < -5)) * 3 / 16_000
    assert falls == pytest.approx(rt60_s, rel=0.12)


def test_both_stems_share_the_noise_floor(soundtracks: list[clip.Clip]) -> None:
    c = next(c for c in soundtracks if c.script)
    before = c.speech[: int(c.events["speech"]["start_s"] * 16_000) - 100]
    level_dbfs = 10 * np.log10(np.mean(before.astype(np.float64) ** 2))
    assert level_dbfs == pytest.approx(c.events["room"]["noise_dbfs"] - 6, abs=1.0)


def test_background_ducks_under_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = clip.plan_stage(np.random.default_rng(0), 100, True)
    monkeypatch.setattr(sounds, "ambience", lambda place, rng, n: np.full(n, 0.1, np.float32))
    monkeypatch.setattr(acoustics, "noise_floor", lambda rng, n, level: np.zeros(n, np.float32))
    room, dry = Acoustics(0.1, -60.0), np.ones(1, np.float32)
    loud, quiet = (
        clip._background_stem(np.random.default_rng(0), plan, mouth, room, dry)
        for mouth in (np.zeros(100, np.float32), np.ones(100, np.float32))
    )
    np.testing.assert_allclose(quiet[FRAME:-FRAME], 0.7 * loud[FRAME:-FRAME], rtol=1e-3, atol=1e-5)
