"""Encoded pictures and sounds decode to what they were made of."""

import base64
import io

import av
import numpy as np
import pytest
import soundfile

from dualdub_jax.pages import data_uri


@pytest.mark.parametrize(
    ("encode", "kind", "tolerance"),
    [(data_uri.png_uri, "png", 0), (data_uri.jpeg_uri, "jpeg", 12), (data_uri.webp_uri, "webp", 12)],
)
def test_pictures(encode, kind, tolerance):
    ramp = np.linspace(0, 255, 64)[None, :, None]
    picture = np.broadcast_to(ramp, (48, 64, 3)).round().astype(np.uint8)
    head, _, body = encode(picture).partition(",")
    assert head == f"data:image/{kind};base64"
    with av.open(io.BytesIO(base64.b64decode(body))) as container:
        decoded = next(container.decode(video=0)).to_ndarray(format="rgb24")
    np.testing.assert_allclose(decoded.astype(int), picture.astype(int), atol=tolerance)


@pytest.mark.parametrize("num_samples", [1, 320, 24_001])
def test_opus_keeps_length_and_sound(num_samples):
    track = 0.5 * np.sin(2 * np.pi * 440 * np.arange(num_samples, dtype=np.float32) / 16_000)
    data = data_uri.opus_bytes(track, 16_000, 48_000)
    decoded, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate_hz == 16_000 and len(decoded) == num_samples
    if num_samples > 1_000:
        assert np.corrcoef(decoded, track)[0, 1] > 0.98


def test_flac_keeps_every_sample():
    track = np.linspace(-1, 1, 1_000, dtype=np.float32)
    decoded, _ = soundfile.read(io.BytesIO(data_uri.flac_bytes(track, 16_000)), dtype="float32")
    np.testing.assert_allclose(decoded, track, atol=2**-15)
