"""Tracks of any length: short ones in one call, long ones in chunks, both to an exact number of samples."""

import numpy as np
import pytest

from dualdub_jax.config import GridConfig
from dualdub_jax.dubbing.track_decoder import BufferedTrackDecoder, decode_track
from tests.fake_engine import FakeDecoder


class EchoStream:
    """A codec's stream: ten samples a frame, each the frame's token; one frame of latency."""

    def __init__(self) -> None:
        self.pushed: list[int] = []
        self._held = np.zeros((1, 0, 2), np.int32)

    def push(self, tokens: np.ndarray) -> np.ndarray:
        self.pushed.append(tokens.shape[1])
        tokens = np.concatenate([self._held, tokens], axis=1)
        self._held = tokens[:, -1:]
        return np.repeat(tokens[:, :-1, 0], 10, axis=1).astype(np.float32)

    def flush(self) -> np.ndarray:
        return np.repeat(self._held[:, :, 0], 10, axis=1).astype(np.float32)


@pytest.mark.parametrize("num_frames", [0, 1, 7, 20, 21, 22, 93])
@pytest.mark.parametrize("step", [1, 6, 50])
def test_short_tracks_are_decoded_in_one_call_and_long_ones_streamed(num_frames, step):
    stream, calls = EchoStream(), []

    def decode(tokens: np.ndarray) -> np.ndarray:
        calls.append(len(tokens))
        return np.repeat(tokens[:, 0], 10).astype(np.float32)

    decoder = BufferedTrackDecoder(decode, lambda: stream, 16_000, max_frames=20)
    tokens = np.stack([np.arange(num_frames), np.zeros(num_frames)], axis=1).astype(np.int32)
    pieces = [decoder.push(tokens[first : first + step]) for first in range(0, num_frames, step)]
    waveform = np.concatenate([*pieces, decoder.flush()])
    np.testing.assert_array_equal(waveform, np.repeat(np.arange(num_frames), 10))
    if num_frames <= 20:
        assert calls == [num_frames] * bool(num_frames) and not stream.pushed
    else:
        assert not calls and sum(stream.pushed) == num_frames


def tone_decoder(rate_hz: int) -> FakeDecoder:
    return FakeDecoder(400.0, rate_hz, GridConfig(), 0.5)


@pytest.mark.parametrize("rate_hz", [16_000, 24_000, 32_000, 44_100])
@pytest.mark.parametrize("num_samples", [32_000, 31_999, 31_401])
def test_tracks_have_exactly_the_samples_of_the_mix(rate_hz, num_samples):
    tokens = np.zeros((50, 1), np.int32)
    waveform = np.concatenate(list(decode_track(tone_decoder(rate_hz), tokens, 16_000, num_samples)))
    assert waveform.shape == (num_samples,) and waveform.dtype == np.float32
    spectrum = np.abs(np.fft.rfft(waveform[8_000:24_000]))
    assert spectrum.argmax() == 400  # hertz: the pitch is that of the decoder's own rate


def test_missing_tokens_are_an_error():
    with pytest.raises(ValueError, match="the tokens end 640 samples before the film does"):
        list(decode_track(tone_decoder(16_000), np.zeros((49, 1), np.int32), 16_000, 32_000))


class StereoDecoder(FakeDecoder):
    """The tone at both sides, the right one at half of its level."""

    def __init__(self, rate_hz: int) -> None:
        super().__init__(400.0, rate_hz, GridConfig(), 0.5)
        self.num_channels = 2

    def push(self, tokens: np.ndarray) -> np.ndarray:
        return super().push(tokens)[:, None] * np.float32([1.0, 0.5])

    def flush(self) -> np.ndarray:
        return super().flush()[:, None] * np.float32([1.0, 0.5])


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_stereo_is_kept_and_mono_is_in_the_middle(rate_hz):
    tokens = np.zeros((50, 1), np.int32)
    stereo, mono = (
        np.concatenate(list(decode_track(decoder, tokens, 44_100, 88_200, 2)))
        for decoder in (StereoDecoder(rate_hz), tone_decoder(rate_hz))
    )
    assert stereo.shape == mono.shape == (88_200, 2)
    np.testing.assert_allclose(stereo[:, 1], 0.5 * stereo[:, 0], atol=1e-6)
    np.testing.assert_array_equal(mono[:, 0], mono[:, 1])
    np.testing.assert_allclose(mono[:, 0], stereo[:, 0], atol=1e-6)
