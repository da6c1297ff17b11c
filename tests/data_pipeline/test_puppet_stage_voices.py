"""The voice banks."""

import sys

import numpy as np
import pytest

from dualdub_jax.data_pipeline.builders.puppet_stage import voices
from dualdub_jax.data_pipeline.builders.puppet_stage.sentences import draw
from dualdub_jax.errors import UserError
from dualdub_jax.text.phonemes import PhonemeTokenizer


def _median_pitch_hz(samples: np.ndarray) -> float:
    """Autocorrelation pitch of the loudest frames."""
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), 1024)[::400]
    frames = frames[np.argsort(-np.square(frames).sum(axis=1))[: len(frames) // 2]] * np.hanning(1024)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, 2048)) ** 2)[:, :400]
    lags = np.argmax(correlation[:, 40:], axis=1) + 40
    return float(np.median(16_000 / lags))


@pytest.fixture(scope="module")
def bank() -> voices.VoiceBank:
    return voices.bank("hibari")


def test_the_bank_has_24_seen_and_8_other_voices(bank: voices.VoiceBank) -> None:
    assert len(set(bank.seen)) == 24 and len(set(bank.unseen)) == 8
    assert not set(bank.seen) & set(bank.unseen)


def test_a_voice_says_the_same_bytes_twice(bank: voices.VoiceBank) -> None:
    first, second = (bank.synthesise(bank.seen[0], "lay green by z nine again")[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.dtype == np.float32 and 0.8 < len(first) / 16_000 < 3 and np.abs(first).max() < 1


def test_voices_have_the_pitch_that_they_claim(bank: voices.VoiceBank) -> None:
    for voice_id in (bank.seen[2], bank.seen[12], bank.seen[-3]):
        samples, _ = bank.synthesise(voice_id, "we want to sing together in the spring")
        expected_hz = voices.hibari_voices()[voice_id].pitch_hz
        assert _median_pitch_hz(samples) == pytest.approx(expected_hz, rel=0.2)


def test_voices_differ_from_each_other(bank: voices.VoiceBank) -> None:
    """The long-term spectrum distinguishes a voice from all others over different sentences."""

    def spectrum(voice_id: str, text: str) -> np.ndarray:
        samples, _ = bank.synthesise(voice_id, text)
        power = np.abs(np.fft.rfft(samples, 1 << 16)) ** 2
        bands = np.add.reduceat(power, np.geomspace(250, 30_000, 36).astype(int))
        return np.log(bands / bands.sum())

    known = {
        v: spectrum(v, "the old sailor carried a bucket of water to the kitchen door") for v in bank.seen
    }
    right = 0
    for voice_id in bank.seen:
        measured = spectrum(voice_id, "please do not share the money with a tall stranger before dinner")
        ranked = sorted(known, key=lambda v: float(np.sum((known[v] - measured) ** 2)))
        right += voice_id in ranked[:3]
    assert right >= 18  # of 24; by chance 3


def test_a_missing_package_is_the_users_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hibari", None)
    with pytest.raises(UserError, match=r"pip install 'dualdub-jax\[data\]'"):
        voices.HibariBank()


def test_an_unknown_bank_names_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"'kazoo' does not exist; choose one of hibari, tone"):
        voices.bank("kazoo")


def test_tone_words_are_where_it_says() -> None:
    samples, times = voices.bank("tone").synthesise("tone-1", "set red now")
    words = times.words
    assert [word for word, _, _ in words] == ["set", "red", "now"]
    assert "".join(letter for letter, _, _ in times.phonemes) == "setrednow"
    for _, start_s, end_s in (*words, *times.phonemes):
        assert np.abs(samples[int(start_s * 16_000) : int(end_s * 16_000)]).max() > 0.05
    assert not samples[int(words[0][2] * 16_000) + 1 : int(words[1][1] * 16_000) - 1].any()


def test_words_are_where_they_sound(bank: voices.VoiceBank) -> None:
    text = "set white with x six again"  # many of its sounds hiss, and only they do
    for voice_id in (bank.seen[0], bank.seen[-1], bank.unseen[3]):
        samples, times = bank.synthesise(voice_id, text)
        assert times is not None
        words = times.words
        assert [word for word, _, _ in words] == text.split()
        edges = [edge for _, begins, ends in words for edge in (begins, ends)]
        assert edges == sorted(edges) and edges[0] < 0.2
        assert edges[-1] == pytest.approx(len(samples) / 16_000, abs=0.1)
        spectrum = np.abs(np.fft.rfft(samples[: len(samples) // 160 * 160].reshape(-1, 160))) ** 2
        hiss = np.log(spectrum[:, 40:].sum(1) / (spectrum[:, 1:20].sum(1) + 1e-9) + 1e-9)  # at 10 ms
        first, last = words[4][1:]  # "six" hisses at both ends and not in between
        third = (last - first) / 3
        begin, middle, end = (
            hiss[int(100 * (first + i * third)) : int(100 * (first + (i + 1) * third)) + 1].max()
            if i != 1
            else hiss[int(100 * (first + 1.2 * third)) : int(100 * (first + 1.8 * third)) + 1].min()
            for i in range(3)
        )
        assert min(begin, end) > middle + 2


def test_phonemes_are_those_of_the_lexicon_and_lie_in_their_words(bank: voices.VoiceBank) -> None:
    tokenizer, rng = PhonemeTokenizer(), np.random.default_rng(0)
    whole = []
    for i in range(20):
        text = draw(rng, "train", "free" if i % 2 else "grid")
        _, times = bank.synthesise(bank.seen[i], text)
        assert times is not None
        assert len(times.phonemes) == len(tokenizer.encode(text)) - 2
        starts = np.array([start_s for _, start_s, _ in times.phonemes])
        for word, start_s, end_s in times.words:
            inside = np.count_nonzero((starts >= start_s) & (starts < end_s))
            whole.append(inside == len(tokenizer.encode(word)) - 2)
    # The network's count of a sentence's last sound may begin where the sound has ended.
    assert np.mean(whole) > 0.9
