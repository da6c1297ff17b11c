import jax.numpy as jnp
import numpy as np

from dualdub_jax.codecs.mel_rvq import excitation

RATE, HOP = 16_000, 320


def _harmonics(pitch_hz, phase=0.0, anchor=0):
    pitch_hz = np.atleast_2d(np.asarray(pitch_hz, np.float32))
    mask = np.ones(pitch_hz.shape, bool)
    phase = jnp.full(pitch_hz.shape[0], phase, jnp.float32)
    return excitation.harmonics(pitch_hz, mask, phase, anchor, RATE, HOP)


def test_every_source_has_unit_variance():
    sources = {
        "noise": excitation.noise(jnp.int32(7), 100, 640, seed=3),
        "grid": excitation.tone_grid(100, 640, seed=3),
        "harmonics": _harmonics(np.full(200, 137.0))[0][0],
    }
    for name, source in sources.items():
        assert abs(float(jnp.std(source)) - 1.0) < 0.05, name


def test_noise_depends_on_the_absolute_frame_and_on_the_seed_only():
    whole = excitation.noise(jnp.int32(0), 10, 640, seed=0)
    part = excitation.noise(jnp.int32(4), 3, 640, seed=0)
    np.testing.assert_array_equal(part, whole[4 * 640 : 7 * 640])
    assert abs(np.corrcoef(whole, excitation.noise(jnp.int32(0), 10, 640, seed=1))[0, 1]) < 0.05


def test_harmonics_lie_on_multiples_of_the_pitch():
    pulses = np.asarray(_harmonics(np.full(50, 200.0))[0][0])
    spectrum = np.abs(np.fft.rfft(pulses)) ** 2
    hz = np.fft.rfftfreq(len(pulses), 1 / RATE)
    on_harmonic = np.abs((hz + 100.0) % 200.0 - 100.0) < 3.0
    assert spectrum[on_harmonic].sum() / spectrum.sum() > 0.999


def test_phase_continues_from_any_anchor():
    pitch_hz = np.linspace(90.0, 300.0, 400)
    whole, phases = _harmonics(pitch_hz)
    part, _ = _harmonics(pitch_hz[200:300], float(phases[0, 210]), anchor=10)
    # The first hop of the part has lost its neighbour.
    np.testing.assert_allclose(part[0, HOP:-HOP], whole[0, 201 * HOP : 299 * HOP], atol=2e-2)


def test_neighbours_do_not_read_outside_the_mask():
    values = np.arange(5, dtype=np.float32)[None, :, None]
    mask = np.array([[True, True, True, False, False]])
    before, after = excitation.neighbours(values, mask)
    assert list(np.asarray(before)[0, :3, 0]) == [0, 0, 1]
    assert list(np.asarray(after)[0, :3, 0]) == [1, 2, 2]
