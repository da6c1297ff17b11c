"""Distill-MOS: predicted mean opinion score of the speech track by a distilled quality model."""

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

_WORST = 1.0  # the lowest opinion score


class DistillMOS(ClipMetric):
    """Predicted mean opinion score of the speech track, 1 to 5.

    Applies to clips with a script, or an unknown one. As in the reference implementation, windows of 7.68 s
    at most 1 s apart are peak-normalised and their scores averaged; a shorter track is zero-padded. The score
    is therefore invariant to gain. A silent track scores 1 if the clip has a script, and is excluded if the
    script is unknown.

    Requires torch, unlike every other metric; a CPU build suffices. The package also declares torchaudio and
    transformers, which scoring does not use: install `torch==2.13.0`, then
    `pip install --no-deps distillmos==0.9.1 xls-r-sqa==0.1.0`.

    Source: Stahl and Gamper (2025); code and weights from their package.
    """

    name = "distillmos"
    figures = (
        Figure(
            "distillmos",
            "",
            "higher",
            "Distill-MOS of the speech track, 1 to 5: overall quality.",
            paired_floor=False,
            smallest_difference=0.1,
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
    """Predicts the opinion score of float32[S] at 16 kHz, 1 to 5."""
    import torch

    with torch.inference_mode():
        return _model()(torch.from_numpy(samples)[None]).item()


@functools.cache
def _model() -> Any:
    """The network with its weights, loaded once a process."""
    with _without_torchaudio():
        import distillmos
    with contextlib.redirect_stdout(io.StringIO()):  # it prints the path of its weights
        return distillmos.ConvTransformerSQAModel().eval()


@contextlib.contextmanager
def _without_torchaudio() -> Iterator[None]:
    """Replaces `torchaudio` by an empty module.

    The package imports it at module level and uses it only in its command line. A torchaudio wheel matches
    one build of torch, and a mismatch fails at import.
    """
    loaded = sys.modules.get("torchaudio")
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    try:
        yield
    finally:
        del sys.modules["torchaudio"]
        if loaded is not None:
            sys.modules["torchaudio"] = loaded
