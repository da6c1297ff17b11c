"""One window as the model reads it: a batch of one row, with a mask for every condition that is absent."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from dualdub_jax.config import Config
from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.dubbing.reference_frames import whole_frames
from dualdub_jax.models.batch import empty_example
from dualdub_jax.text.tokenizer import Tokenizer
from dualdub_jax.types import Batch

Condition = Literal["video", "script", "voice", "acoustics"]


class WindowBatches:
    """Makes batches of the windows of one model."""

    def __init__(self, config: Config, tokenizer: Tokenizer, absent: Sequence[Condition]) -> None:
        """Binds the model.

        Args:
            config: of the bundle.
            tokenizer: of scripts.
            absent: conditions that are always masked.
        """
        self._config, self._tokenizer, self._absent = config, tokenizer, absent

    def make(
        self,
        video: Mapping[str, np.ndarray],
        script: str,
        voice: np.ndarray | None,
        acoustics: Acoustics | None,
        use_speech: bool,
        use_background: bool,
        context: Mapping[str, np.ndarray],
    ) -> Batch:
        """Makes the batch; arguments as of `DubbingEngine.generate`.

        Raises:
            ValueError: the script has more tokens than a window holds.
        """
        grid = self._config.grid
        fields = empty_example(self._config)
        num_frames = num_video_frames(video)
        for row, frames in video.items():
            fields[row][:num_frames] = frames
        fields["frame_mask"][:num_frames] = True
        # Without a speech stream, the script is that of training on clips without speech.
        prompt = self._config.model.background_prompt
        ids = self._tokenizer.encode(script if use_speech else prompt)
        if len(ids) > grid.num_script_tokens:
            raise ValueError(f"script has {len(ids)} tokens, a window holds {grid.num_script_tokens}")
        fields["script_tokens"][: len(ids)] = ids
        fields["script_mask"][: len(ids)] = True
        fields["voice"], fields["voice_mask"] = whole_frames(
            voice, grid.samples_per_frame, grid.num_voice_frames
        )
        if acoustics is not None:
            fields["acoustics"][:] = acoustics
        for stream, tokens in context.items():
            fields[f"{stream}_tokens"][: len(tokens)] = tokens
        fields |= {
            "has_video": np.True_,
            "has_script": np.bool_(use_speech or bool(prompt)),
            "has_voice": np.bool_(voice is not None and use_speech),
            "has_acoustics": np.bool_(acoustics is not None),
            "has_speech": np.bool_(use_speech),
            "has_background": np.bool_(use_background),
        }
        fields |= {f"has_{part}": np.False_ for part in self._absent}
        return Batch(**{name: np.asarray(value)[None] for name, value in fields.items()})


def num_video_frames(video: Mapping[str, np.ndarray]) -> int:
    """T, the same for all rows."""
    (num_frames,) = {len(frames) for frames in video.values()}
    return num_frames
