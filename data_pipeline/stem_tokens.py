"""Stems to codec tokens, a batch at a time, each clip once.

The codecs are jitted JAX functions, so this runs in the main process (in grain's prefetch thread) and not in
the workers. Tokens of a clip are kept in memory, about 2 KB a clip: after the first epoch they cost nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dualdub_jax.data_pipeline.stem import Stem
from dualdub_jax.types import STREAMS, Stream

if TYPE_CHECKING:
    from dualdub_jax.codecs.base import Codec

# (stream, "dataset:id") -> int32[clip_frames, Q]. One dictionary may serve several stages, as long as the
# codecs are the same.
TokenCache = dict[tuple[Stream, str], np.ndarray]

# Clips in one call of a codec. On a CPU, 8 take half the time of 8 calls with one; more gain nothing.
_GROUP_SIZE = 8

# Nothing is evicted: a shuffled epoch uses each clip once, so no entry is worth more than another.
_MAX_CACHED_CLIPS = 1_000_000


class StemTokenizer:
    """Replaces `stems` of a batch by `speech_tokens` and `background_tokens`.

    Every call of a codec has one shape, and a mask over the frames past the end of a clip: silence there
    would put an edge into the codec's receptive field, and teach that sound stops where a clip does. A clip's
    tokens are therefore those of the clip alone, whatever its neighbours and the cache, and each codec
    compiles once.

    Args:
        codecs: one for each stream.
        num_frames: of the model's window; batches may be shorter.
        cache: tokens by stream and clip, read and added to; None turns caching off.
    """

    def __init__(self, codecs: "Mapping[Stream, Codec]", num_frames: int, cache: TokenCache | None) -> None:
        self._codecs = codecs
        self._num_frames = num_frames
        self._cache = cache

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        batch = dict(batch)
        stems = batch.pop("stems")
        for stream in STREAMS:
            batch[f"{stream}_tokens"] = self._tokenise(stream, stems[stream], batch["frame_mask"].shape[1])
        return batch

    def _tokenise(self, stream: Stream, stems: Sequence[Stem], length: int) -> np.ndarray:
        """int32[B, length, Q]; zeros past the end of a clip, and for a stem that is not there."""
        tokens = np.zeros((len(stems), length, self._codecs[stream].spec.num_codebooks), np.int32)
        missing = []
        for row, stem in enumerate(stems):
            known = self._cached(stream, stem)
            if known is not None:
                tokens[row, : stem.num_frames] = known
            elif stem.flac:
                missing.append(row)
        for row, encoded in zip(missing, self._encode(stream, [stems[i] for i in missing]), strict=True):
            tokens[row, : len(encoded)] = encoded
            self._remember(stream, stems[row], encoded)
        return tokens

    def _cached(self, stream: Stream, stem: Stem) -> np.ndarray | None:
        if stem.is_constant and stem.tokens is not None:  # prepared
            return stem.tokens
        if self._cache is None or not stem.is_constant:
            return None
        return self._cache.get((stream, stem.clip))

    def _remember(self, stream: Stream, stem: Stem, tokens: np.ndarray) -> None:
        # A part of a longer clip is another part the next time, and not worth keeping.
        if self._cache is not None and stem.is_constant and len(self._cache) < _MAX_CACHED_CLIPS:
            self._cache[stream, stem.clip] = tokens

    def _encode(self, stream: Stream, stems: Sequence[Stem]) -> Iterator[np.ndarray]:
        """Yields int32[num_frames, Q] for each stem."""
        codec, num_frames = self._codecs[stream], self._num_frames
        for first in range(0, len(stems), _GROUP_SIZE):
            group = stems[first : first + _GROUP_SIZE]
            waveform = np.zeros((_GROUP_SIZE, num_frames * codec.spec.samples_per_frame), np.float32)
            frame_mask = np.zeros((_GROUP_SIZE, num_frames), np.bool_)
            for row, stem in enumerate(group):
                samples = stem.decode(codec.spec)
                waveform[row, : len(samples)] = samples
                frame_mask[row, : stem.num_frames] = True
            encoded = np.asarray(codec.encode(waveform, frame_mask))
            for row, stem in enumerate(group):
                yield encoded[row, : stem.num_frames].copy()
