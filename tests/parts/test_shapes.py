"""Shapes and dtypes are checked at public functions in tests, and nothing is wrapped without the variable."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Float, TypeCheckError

from dualdub_jax.codecs.mel_rvq import rvq
from dualdub_jax.curriculum.losses import stream_loss
from dualdub_jax.dsp.acoustics_bins import bin_values, bin_weights
from dualdub_jax.dsp.mel import log_mel
from dualdub_jax.dsp.stft import istft, stft
from dualdub_jax.dubbing.sampling import sample, stream_sampling
from dualdub_jax.encoders.script import TokenEmbedding
from dualdub_jax.layers.attention import dot_product_attention
from dualdub_jax.models.stream_embedding import StreamEmbedding
from dualdub_jax.parts.shapes import CHECK_SHAPES_VARIABLE, checked
from dualdub_jax.types import Array
from tests.tiny import tiny_config

CONFIG = tiny_config()
KEY = jax.random.key(0)
SAMPLING = stream_sampling(CONFIG.sampling)["speech"]


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def masks(*shape):
    return np.ones(shape, bool)


def embed_script(tokens, mask, has_script):
    return TokenEmbedding(CONFIG.model).init(KEY, tokens, mask, has_script)


def embed_stream(codes, is_first, is_present):
    return StreamEmbedding(2, 8, 16).init(KEY, codes, is_first, is_present)


CODES = zeros(2, 3, 2, dtype=np.int32)
VIOLATIONS = {
    "an integer waveform": lambda: log_mel(zeros(2, 640, dtype=np.int16), 16_000, 512, 160, 20),
    "an integer signal": lambda: stft(zeros(640, dtype=np.int16), 512, 160),
    "real spectra": lambda: istft(zeros(1, 4, 257), 512, 160),
    "a mask of other frames": lambda: istft(zeros(1, 4, 257, dtype=np.complex64), 512, 160, masks(1, 5)),
    "bins of another transform": lambda: istft(zeros(1, 4, 200, dtype=np.complex64), 512, 160),
    "one quantity": lambda: bin_weights(zeros(2, 1), 8),
    "fractional bins": lambda: bin_values(zeros(2, 2), 8),
    "latents of another dimension": lambda: rvq.quantize(zeros(2, 3, 4), zeros(2, 8, 5)),
    "fractional codes": lambda: rvq.dequantize(zeros(2, 3, 2), zeros(2, 8, 4)),
    "one code too many": lambda: rvq.dequantize(zeros(2, 3, 3, dtype=np.int32), zeros(2, 8, 4)),
    "keys without values": lambda: dot_product_attention(
        zeros(2, 3, 4, 8), zeros(2, 5, 2, 8), zeros(2, 6, 2, 8), masks(2, 3, 5)
    ),
    "an additive mask": lambda: dot_product_attention(
        zeros(2, 3, 4, 8), zeros(2, 5, 2, 8), zeros(2, 5, 2, 8), zeros(2, 3, 5)
    ),
    "a mask of another batch": lambda: dot_product_attention(
        zeros(2, 3, 4, 8), zeros(2, 5, 2, 8), zeros(2, 5, 2, 8), masks(3, 3, 5)
    ),
    "a script mask of another length": lambda: embed_script(
        zeros(2, 6, dtype=np.int32), masks(2, 5), masks(2)
    ),
    "flags of another batch": lambda: embed_stream(CODES, masks(3), masks(4)),
    "codes without a codebook axis": lambda: embed_stream(CODES[..., 0], masks(3), masks(2)),
    "targets of other frames": lambda: stream_loss(zeros(2, 4, 2, 8), CODES, masks(2, 3)),
    "logits of several frames": lambda: sample(jnp.zeros((2, 8)), jnp.zeros((2, 3, 8)), SAMPLING),
}


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_a_violation_raises(violation):
    with pytest.raises(TypeCheckError):
        VIOLATIONS[violation]()


def test_conforming_calls_return():
    assert log_mel(zeros(2, 640), 16_000, 512, 160, 20).shape == (2, 4, 20)
    assert bin_weights(zeros(3, 2), 8).shape == (3, 2, 8)
    mask = masks(1, 3, 5)  # of batch 1: broadcast
    out = dot_product_attention(zeros(2, 3, 4, 8), zeros(2, 5, 2, 8), zeros(2, 5, 2, 8), mask)
    assert out.shape == (2, 3, 4, 8)
    jax.eval_shape(embed_script, jnp.zeros((2, 6), jnp.int32), masks(2, 6), masks(2))
    jax.eval_shape(embed_stream, CODES, masks(3), masks(2))


def test_a_result_of_another_shape_raises():
    @checked
    def last(x: Float[Array, "B T D"]) -> Float[Array, "B D"]:
        return x[:, -1:]

    with pytest.raises(TypeCheckError, match="last"):
        last(zeros(2, 3, 4))


def test_checks_run_in_traces_and_leave_the_program_as_it_is():
    def plain(x: Float[Array, "B T"], y: Float[Array, "B T"]) -> Float[Array, "B T"]:
        return x + y

    x = zeros(2, 3)
    assert str(jax.make_jaxpr(checked(plain))(x, x)) == str(jax.make_jaxpr(plain)(x, x))
    with pytest.raises(TypeCheckError):
        jax.jit(checked(plain))(x, zeros(2, 4))


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_functions_are_not_wrapped(monkeypatch, value):
    monkeypatch.delenv(CHECK_SHAPES_VARIABLE)
    if value is not None:
        monkeypatch.setenv(CHECK_SHAPES_VARIABLE, value)

    def function(x: Float[Array, "B T"]) -> Float[Array, "B T"]:
        return x

    assert checked(function) is function


def test_the_package_runs_without_beartype():
    """An installation without development dependencies has no beartype."""
    code = (
        "import sys; sys.modules['beartype'] = None\n"
        "import numpy as np\n"
        "from dualdub_jax.dsp.acoustics_bins import bin_weights\n"
        "assert not hasattr(bin_weights, '__wrapped__')\n"
        "print(bin_weights(np.zeros((3, 2), np.float32), 8).shape)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != CHECK_SHAPES_VARIABLE}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "(3, 2, 8)\n", done.stderr
