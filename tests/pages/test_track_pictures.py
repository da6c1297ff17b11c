"""Pictures of tracks show what is in them, at its place."""

import numpy as np

from dualdub_jax.pages.track_pictures import mel_levels_db, paint_spectrogram, waveform_svg


def test_spectrogram_shows_a_tone_at_its_time_and_pitch():
    track = np.zeros(16_000, np.float32)
    track[8_000:] = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(8_000) / 16_000)
    levels_db = mel_levels_db(track, 16_000)
    loudest = levels_db.max(axis=1)
    num_columns = len(loudest)
    assert loudest[: num_columns * 45 // 100].max() < -100 and loudest[num_columns * 55 // 100 :].min() > -20
    # 1000 Hz is 1000 mel of 2840 on 81 steps.
    assert abs(levels_db[-20].argmax() - 1000 / 2840 * 81) < 1.5


def test_one_scale_makes_pictures_comparable():
    tone = np.sin(np.arange(4_000, dtype=np.float32))
    quiet, loud = mel_levels_db(0.05 * tone, 16_000), mel_levels_db(0.5 * tone, 16_000)
    own, other = paint_spectrogram(quiet), paint_spectrogram(loud)
    assert np.abs(own.astype(int) - other).max() <= 1, "each to its own loudest: no difference of 20 dB"
    np.testing.assert_array_equal(paint_spectrogram(loud, float(loud.max())), other)
    assert paint_spectrogram(quiet, float(loud.max())).sum() < 0.7 * own.sum()


def test_short_and_silent_tracks_have_pictures():
    assert paint_spectrogram(mel_levels_db(np.zeros(1, np.float32), 16_000)).shape == (80, 1, 3)
    assert waveform_svg(np.zeros(10, np.float32)) is None
    assert waveform_svg(np.ones(1, np.float32)).startswith("<svg")
