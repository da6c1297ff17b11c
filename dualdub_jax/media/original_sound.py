"""Sound that is kept beside the generated tracks: files from their beginning, or the film's own on its clock.

More than two channels are mixed down to stereo by libswresample's coefficients (ITU-R BS.775).
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

import av
import numpy as np

from dualdub_jax.dsp.blocks import even_blocks, fit_blocks, resample_blocks
from dualdub_jax.errors import UserError
from dualdub_jax.media.clock import FilmClock
from dualdub_jax.media.container import open_media, read_packets, video_stream
from dualdub_jax.media.film import Film

OF_FILM = "film"  # names the film's own sound
_LAYOUTS = {1: "mono", 2: "stereo"}
_MOST_JITTER_S = 0.02  # of frames' times, rounded by containers; more is a gap or an overlap
_LEAST_DIFFERENCE_S = 0.1  # of lengths that is worth a sentence


@dataclasses.dataclass(frozen=True)
class OriginalSound:
    """A sound to be kept.

    Attributes:
        path: the file; of several sound streams the main one.
        gain_db: to apply.
        sample_rate_hz: its own.
        num_channels: 1, or 2 if it has more.
        of_film: it is the film's own, and begins when the film does.
    """

    path: pathlib.Path
    gain_db: float
    sample_rate_hz: int
    num_channels: int
    of_film: bool = False


def find_sounds(gains_db: Mapping[str, float], film: Film) -> list[OriginalSound]:
    """Opens sounds, to find their formats and what is wrong with them.

    Args:
        gains_db: by path, or `OF_FILM`.
        film: that they accompany.

    Raises:
        UserError: a file is missing, not media or without sound; or the film has none.
    """
    sounds = []
    for name, gain_db in gains_db.items():
        of_film = name == OF_FILM
        path = film.path if of_film else pathlib.Path(name)
        with open_media(path, "sound") as container:
            stream = container.streams.best("audio")
            if stream is None or stream.codec_context is None:
                mend = f"--keep-original {OF_FILM}=…" if of_film else "this --keep-original"
                raise UserError(f"{path}: has no sound to keep; leave out {mend}, or give a file with sound")
            sounds.append(OriginalSound(path, gain_db, stream.rate, min(2, stream.channels), of_film))
    return sounds


class OriginalTrack:
    """The sum of kept sounds, exactly as long as a film.

    Attributes:
        warnings: for the user, one sentence each; complete once all blocks have been read.
    """

    def __init__(
        self, sounds: Iterable[OriginalSound], film: Film, sample_rate_hz: int, num_channels: int
    ) -> None:
        """Prepares a track; mono sounds are in the middle of a stereo track."""
        self.warnings: list[str] = []
        self._sounds, self._film = list(sounds), film
        self._sample_rate_hz, self._num_channels = sample_rate_hz, num_channels

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields float32[n], or [n, 2] in stereo.

        Raises:
            UserError: nothing of a sound can be decoded, its format changes, or it holds values that are not
                finite.
        """
        for parts in zip(*map(self._read, self._sounds), strict=True):
            yield np.sum(parts, axis=0, dtype=np.float32)

    def _read(self, sound: OriginalSound) -> Iterator[np.ndarray]:
        """The sound with its gain, in blocks of one size."""
        num_samples = self._film.num_samples(self._sample_rate_hz)
        gain = np.float32(10.0 ** (sound.gain_db / 20.0))
        reading = _Reading(sound, self._film)
        blocks = resample_blocks(
            reading.blocks, sound.sample_rate_hz, self._sample_rate_hz, sound.num_channels
        )
        peak = 0.0
        for block in even_blocks(fit_blocks(blocks, num_samples, sound.num_channels)):
            peak = max(peak, float(np.abs(block).max(initial=0.0)))
            if sound.num_channels < self._num_channels:
                block = np.repeat(block[:, None], self._num_channels, axis=1)
            yield gain * block
        self.warnings += reading.warnings(is_silent=not peak)


class _Reading:
    """One reading of a sound from the film's beginning.

    Attributes:
        blocks: float32[n], or [n, 2] in stereo, at the sound's own rate.
    """

    def __init__(self, sound: OriginalSound, film: Film) -> None:
        self._sound, self._film = sound, film
        self._num_read = self._num_damaged = 0
        self.blocks = self._checked()

    def warnings(self, is_silent: bool) -> list[str]:
        """What the user should know of it, once as much has been read as the film is long."""
        film_s, rate_hz = float(self._film.duration_s), self._sound.sample_rate_hz
        name = f"the sound of {self._sound.path}" if self._sound.of_film else str(self._sound.path)
        while self._num_read <= (film_s + _LEAST_DIFFERENCE_S) * rate_hz:
            if next(self.blocks, None) is None:
                break
        seconds, found = self._num_read / rate_hz, []
        if is_silent:
            found.append(f"{name} is silent")
        elif seconds < film_s - _LEAST_DIFFERENCE_S:
            found.append(f"{name} ends after {seconds:.2f} s of {film_s:.2f} s: silence follows")
        elif seconds > film_s + _LEAST_DIFFERENCE_S:
            found.append(f"{name} is longer than the film and is cut off after {film_s:.2f} s")
        if self._num_damaged:
            found.append(f"{name}: {self._num_damaged} of its packets cannot be decoded and are left out")
        return found

    def _checked(self) -> Iterator[np.ndarray]:
        path, until_s = self._sound.path, 0.0
        try:
            for block in self._of_film() if self._sound.of_film else self._of_file():
                if not np.isfinite(block).all():
                    raise UserError(f"{path}: its sound holds values that are not numbers; mend it first")
                self._num_read += len(block)
                until_s = self._num_read / self._sound.sample_rate_hz
                yield block
        except ValueError:
            raise UserError(
                f"{path}: its sound changes its format after {until_s:.2f} s; convert it to a WAV file first"
            ) from None
        if not self._num_read:
            raise UserError(f"{path}: nothing of its sound can be decoded; convert it to a WAV file first")

    def _of_file(self) -> Iterator[np.ndarray]:
        with open_media(self._sound.path, "sound") as container:
            stream = container.streams.best("audio")
            for samples, _ in self._frames(read_packets(container, stream), stream):
                yield samples

    def _of_film(self) -> Iterator[np.ndarray]:
        """On the film's clock: gaps are silent, overlaps are left out."""
        rate_hz, start_s = self._sound.sample_rate_hz, self._film.start_pts * self._film.time_base
        position = 0
        with open_media(self._sound.path, "sound") as container:
            stream = container.streams.best("audio")
            packets = FilmClock(container, video_stream(container, self._sound.path)).packets(stream)
            mine = (packet for packet in packets if packet.stream_index == stream.index)
            for samples, time_s in self._frames(mine, stream):
                if time_s is not None:
                    due = round((time_s - start_s) * rate_hz)
                    if position == 0 or abs(due - position) > _MOST_JITTER_S * rate_hz:
                        yield from fit_blocks((), max(0, due - position), self._sound.num_channels)
                        samples, position = samples[max(0, position - due) :], max(due, position)
                position += len(samples)
                yield samples

    def _frames(
        self, packets: Iterable[av.Packet], stream: av.audio.stream.AudioStream
    ) -> Iterator[tuple[np.ndarray, Fraction | None]]:
        """Decoded samples, float32[n] or [n, 2], and the time of the first of them in seconds."""
        layout = _LAYOUTS[self._sound.num_channels]
        resampler = av.AudioResampler("fltp", layout, self._sound.sample_rate_hz)
        for packet in itertools.chain(packets, [None]):  # None: what the decoder still holds
            try:
                frames = stream.codec_context.decode(packet)
            except av.error.FFmpegError:
                self._num_damaged += 1
                continue
            for frame in frames:
                time_s = None if frame.pts is None else frame.pts * frame.time_base
                for made in resampler.resample(frame):
                    planes = made.to_ndarray()
                    yield (planes[0] if self._sound.num_channels == 1 else planes.T), time_s
