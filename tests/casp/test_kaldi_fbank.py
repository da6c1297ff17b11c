"""The front end against kaldi-native-fbank, and its shapes.

Kaldi refuses 128 bands, of which some are empty; `test_beats.py` compares those with torchaudio's. In bands
that lie 90 dB below the strongest of their frame, float32 leaves either side an error above 2e-3: none here.
"""

import kaldi_native_fbank
import numpy as np
import pytest

from dualdub_jax.casp.kaldi_fbank import beats_features, log_mel, num_frames

RNG = np.random.default_rng(0)
TIME_S = np.arange(12_345) / 16_000
HISS = RNG.normal(size=len(TIME_S))
SIGNALS = {
    "noise": 0.3 * HISS,
    "quiet noise": 1e-4 * HISS,
    "rising tone in noise": 0.5 * np.sin(2 * np.pi * (100 + 2000 * TIME_S) * TIME_S) + 1e-2 * HISS,
    "harmonics": sum(np.sin(2 * np.pi * 140 * k * TIME_S) / k for k in range(1, 40)) / 4 + 1e-3 * HISS,
    "clicks": np.where(np.arange(len(TIME_S)) % 1600 == 0, 0.9, 0.0),
    "loud, clipped, off centre": np.clip(3 * HISS + 0.5, -1, 1),
    "silence": np.zeros(len(TIME_S)),
}


def _kaldi(waveform: np.ndarray, num_mels: int) -> np.ndarray:
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.samp_freq = 16_000
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = num_mels
    options.mel_opts.low_freq = 20.0
    options.mel_opts.high_freq = 0.0
    fbank = kaldi_native_fbank.OnlineFbank(options)
    fbank.accept_waveform(16_000, (waveform * 2.0**15).astype(np.float32).tolist())
    fbank.input_finished()
    return np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])


@pytest.mark.parametrize("num_mels", [80, 40])
@pytest.mark.parametrize("name", SIGNALS)
def test_is_kaldis(name, num_mels):
    waveform = SIGNALS[name].astype(np.float32)
    ours, kaldi = np.asarray(log_mel(waveform, num_mels)), _kaldi(waveform, num_mels)
    assert ours.shape == kaldi.shape == (num_frames(len(waveform)), num_mels)
    np.testing.assert_allclose(ours, kaldi, atol=2e-3)


def test_frames_lie_inside_the_signal():
    assert [num_frames(n) for n in (0, 399, 400, 559, 560, 81_920)] == [0, 0, 1, 1, 2, 510]
    with pytest.raises(ValueError, match="399 samples is shorter than a window"):
        log_mel(np.zeros(399, np.float32))


def test_a_batch_is_its_rows():
    stems = np.stack([SIGNALS["noise"], SIGNALS["harmonics"]])[:, :4000].astype(np.float32)
    both = np.asarray(beats_features(stems, 32))
    np.testing.assert_allclose(both[1], beats_features(stems[1], 32), atol=1e-5)


def test_empty_bands_and_silence_read_the_least_energy():
    least = np.log(np.finfo(np.float32).eps)
    noise = np.asarray(log_mel(SIGNALS["noise"].astype(np.float32), 128))
    empty = (noise == noise[0]).all(axis=0)
    assert 0 < empty.sum() < 20 and not empty[30:].any()
    np.testing.assert_allclose(noise[:, empty], least, rtol=1e-6)
    silence = beats_features(np.zeros(400, np.float32))
    np.testing.assert_allclose(silence, (least - 15.41663) / (2 * 6.55582), rtol=1e-6)
