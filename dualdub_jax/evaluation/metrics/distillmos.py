"""Distill-MOS: how listeners would rate the speech track's quality, as a small network predicts it."""

import contextlib
import functools
import io
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dualdub_jax.evaluation.analysis.audible import as_sound, is_silent
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Requirement, Value
from dualdub_jax.evaluation.listeners.packaged_file import packaged_file, sha256_of

_WORST = 1.0  # of the scale of opinion scores


class DistillMOS(ClipMetric):
    """Predicted mean opinion score of the speech track, 1 to 5.

    For clips with a text, or with an unknown one. As the reference does it: windows of 7.68 s at most 1 s
    apart, a shorter track completed with zeros, each window brought to a peak of 1, scores averaged; so the
    track's level does not matter. A track without any sound scores 1 where a text should be heard, and is
    left out where that is unknown.

    Needs torch, which no other metric does; a CPU build will do. The package also asks for torchaudio and
    transformers, which scoring does not use: `pip install torch==2.13.0` and then
    `pip install --no-deps distillmos==0.9.1 xls-r-sqa==0.1.0` is enough.

    Source: Stahl and Gamper (2025), from their package, weights inside.
    """

    name = "distillmos"
    figures = (
        Figure(
            "distillmos",
            "",
            "higher",
            "Distill-MOS of the speech track, 1 to 5: overall quality.",
            paired_floor=False,
        ),
    )
    requirements = (
        Requirement("torch", "torch", "eval-torch"),
        Requirement("distillmos", "distillmos", alone="distillmos==0.9.1"),
        Requirement("xls-r-sqa", "xls_r_sqa", alone="xls-r-sqa==0.1.0"),
    )

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[]."""
        return {self.name: self._score(clip)}

    def _score(self, clip: Clip) -> Value:
        if clip.speech is None or clip.text == "":
            return None
        speech = as_sound(clip.speech)
        if is_silent(speech):
            return None if clip.text is None else np.float64(_WORST)
        opinion = predict(speech.astype(np.float32))
        self.weights_sha256 = sha256_of(packaged_file("distillmos", "weights", "distill_mos_v7.pt"))
        return np.float64(opinion)


def predict(samples: np.ndarray) -> float:
    """What the network says of float32[S] at 16 kHz, 1 to 5."""
    import torch

    with torch.inference_mode():
        return _model()(torch.from_numpy(samples)[None]).item()


@functools.cache
def _model() -> Any:
    """The network with its weights, loaded once a process."""
    with _torchaudio_left_out():
        import distillmos
    with contextlib.redirect_stdout(io.StringIO()):  # it prints where its weights are
        return distillmos.ConvTransformerSQAModel().eval()


@contextlib.contextmanager
def _torchaudio_left_out() -> Iterator[None]:
    """While open, `import torchaudio` gives an empty module.

    The package imports it at its top and uses it only to read files in its command line. Its wheels fit one
    build of torch each, and a wrong one fails at import.
    """
    loaded = sys.modules.get("torchaudio")
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    try:
        yield
    finally:
        del sys.modules["torchaudio"]
        if loaded is not None:
            sys.modules["torchaudio"] = loaded
