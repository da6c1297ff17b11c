"""What an upload may be: checked from the file's headers and packets, before a picture is decoded."""

import dataclasses
import pathlib

from dualdub_jax.errors import UserError
from dualdub_jax.media.container import open_media, video_stream
from dualdub_jax.media.film import Film, FilmReader

# 8K. Decoding allocates frames of the size that the header names, whatever the file's own size.
_MAX_PIXELS = 8192 * 4320


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of the page.

    Attributes:
        max_length_s: of a film, seconds.
        max_upload_mb: of each file, MB (10^6 bytes).
        keep_hours: how long a visitor's files are kept after the last use.
        max_waiting: jobs that may wait.
    """

    max_length_s: float = 600.0
    max_upload_mb: float = 500.0
    keep_hours: float = 12.0
    max_waiting: int = 20

    @property
    def max_upload_bytes(self) -> int:
        """Bytes of one file."""
        return int(self.max_upload_mb * 1e6)

    def check_film(self, path: pathlib.Path) -> Film:
        """Probes an uploaded film.

        Returns:
            What is known of it.

        Raises:
            UserError: it is too long, its pictures are too large, or `FilmReader` cannot open it.
        """
        with open_media(path, "video") as container:
            context = video_stream(container, path).codec_context
            if context.width * context.height > _MAX_PIXELS:
                raise UserError(
                    f"{path}: its pictures are {context.width} x {context.height} pixels, more than 8192 x "
                    "4320; scale it down"
                )
            self._check_length(path, (container.duration or 0) / 1e6)
        with FilmReader(path) as reader:  # headers may not tell the truth
            self._check_length(path, float(reader.film.duration_s))
            return reader.film

    def _check_length(self, path: pathlib.Path, duration_s: float) -> None:
        if duration_s > self.max_length_s:
            raise UserError(
                f"{path}: is {_clock(duration_s)} long, and this page takes films of up to "
                f"{_clock(self.max_length_s)}; cut it, or start the page with a larger --max-length"
            )


def _clock(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
