"""The resampler of public metric code, against a golden run of torchaudio."""

import numpy as np
import pytest

from dualdub_jax.dsp.sinc_resample import sinc_resample
from tests.convert.ports import golden
from tests.golden.make_metrics_golden import sound


@pytest.mark.parametrize("rate", [8_000, 22_050, 24_000, 44_100, 48_000])
def test_it_is_torchaudios(rate):
    resampled = sinc_resample(sound(3001, rate), rate, 16_000)
    np.testing.assert_allclose(resampled, golden("resample", str(rate)), atol=1e-5)


def test_a_waveform_at_the_rate_is_unchanged():
    np.testing.assert_array_equal(sinc_resample(sound(100), 16_000, 16_000), sound(100))
