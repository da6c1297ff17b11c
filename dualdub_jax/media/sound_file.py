"""Sound files: reading a reference voice, or any sound, from any container and codec.

A reference is mixed to mono and resampled to the grid's rate. Of one that is longer than the model takes, the
stretch with the most 10 ms frames within 30 dB of the loudest is used, the earliest of equals; only the first
ten minutes are considered. Its level is set to that of the references of training, for the level of a
recording does not determine how loud the voice should be in the film. Source: our choice.
"""

import pathlib

import av
import numpy as np
import soxr

from dualdub_jax.config import GridConfig
from dualdub_jax.errors import UserError
from dualdub_jax.media.container import open_media

MIN_VOICE_S = 0.5
MAX_REFERENCE_S = 600
# Louder than the noise of a muted 16-bit converter, softer than any usable recording.
SILENCE_DBFS = -60.0
_ACTIVE_RANGE_DB = 30.0
VOICE_DBFS = -23.0  # of the active frames; training has -26 to -20
_PEAK = 0.95


def read_voice(path: pathlib.Path | str, grid: GridConfig) -> np.ndarray:
    """Reads a reference recording: any container, codec, rate and channel count; films too.

    Returns:
        float32[S] in [-1, 1], mono at `grid.sample_rate_hz`, from 0.5 s to `grid.num_voice_frames` long,
        its speech at -23 dB full scale.

    Raises:
        UserError: the file is missing, empty, not media, without sound, shorter than 0.5 s, or silent
            (no 10 ms of it reaches -60 dB full scale).
    """
    path = pathlib.Path(path)
    samples = read_mono(path, grid.sample_rate_hz)
    seconds = len(samples) / grid.sample_rate_hz
    if seconds < MIN_VOICE_S:
        raise UserError(
            f"{path}: the voice is {seconds:.2f} s long but at least {MIN_VOICE_S} s are needed; "
            "give a longer recording"
        )
    if not np.isfinite(samples).all():
        raise UserError(f"{path}: holds samples that are not numbers; give an undamaged recording")
    levels_db = _frame_levels_db(samples, grid.sample_rate_hz)
    if levels_db.max() < SILENCE_DBFS:
        raise UserError(
            f"{path}: the voice is silent (below {SILENCE_DBFS:.0f} dB full scale); "
            "give a recording of speech"
        )
    is_active = levels_db > max(SILENCE_DBFS, levels_db.max() - _ACTIVE_RANGE_DB)
    level = np.sqrt(np.mean(10.0 ** (levels_db[is_active] / 10.0)))
    gain = min(10.0 ** (VOICE_DBFS / 20.0) / level, _PEAK / np.abs(samples).max())
    return _liveliest(samples, is_active, grid) * np.float32(gain)


def read_mono(path: pathlib.Path | str, sample_rate_hz: int, max_s: float = MAX_REFERENCE_S) -> np.ndarray:
    """Reads the sound of any media file: channels averaged, resampled, at its own level.

    Args:
        path: the file; of several sound streams the main one is read.
        sample_rate_hz: of the result.
        max_s: seconds to read from the beginning.

    Returns:
        float32[S], mono.

    Raises:
        UserError: the file is missing, empty, not media, or its sound is absent or cannot be decoded.
    """
    path = pathlib.Path(path)
    blocks: list[np.ndarray] = []
    rate_hz = None
    with open_media(path, "sound") as container:
        stream = container.streams.best("audio")
        if stream is None or stream.codec_context is None:
            raise UserError(f"{path}: no sound in it; give a recording of a voice")
        try:
            for frame in container.decode(stream):
                if rate_hz is None:
                    rate_hz = frame.sample_rate
                    resampler = soxr.ResampleStream(rate_hz, sample_rate_hz, 1, dtype="float32")
                    limit = max_s * rate_hz
                if frame.sample_rate != rate_hz:
                    break
                blocks.append(resampler.resample_chunk(_to_mono(frame)))
                limit -= frame.samples
                if limit <= 0:
                    break
        except av.error.FFmpegError:
            # A damaged end does no harm to a reference: the samples before it are used.
            if rate_hz is None:
                raise UserError(f"{path}: its sound cannot be decoded; give a WAV or FLAC file") from None
    if rate_hz is None:
        raise UserError(f"{path}: the sound stream is empty; give a recording of a voice")
    blocks.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    return np.concatenate(blocks)


def _to_mono(frame: av.AudioFrame) -> np.ndarray:
    """float32[S] in [-1, 1]: the mean of all channels."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T  # [channels, S]
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128.0) / 128.0
    elif np.issubdtype(samples.dtype, np.integer):
        samples = samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    return samples.astype(np.float32).mean(axis=0)


def _frame_levels_db(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """float[N]: level of each 10 ms, dB full scale."""
    hop = sample_rate_hz // 100
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    return 10.0 * np.log10(np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-12)


def _liveliest(samples: np.ndarray, is_active: np.ndarray, grid: GridConfig) -> np.ndarray:
    num_wanted = grid.num_voice_frames * grid.samples_per_frame
    if len(samples) <= num_wanted:
        return samples
    hop = grid.sample_rate_hz // 100
    counts = np.concatenate([[0], np.cumsum(is_active)])
    length = num_wanted // hop
    start = int(np.argmax(counts[length:] - counts[:-length])) * hop
    return samples[start : start + num_wanted]
