"""`dualdub data build v2c_animation`: V2C-Animation, lines of characters of animated films.

    movie_dataset/zootopia/zootopia_speeches/Daddy/00/Daddy-00-0034.wav             (or .flac)
                                                      Daddy-00-0034.normalized.txt
                           zootopia_videos/Daddy/0034.mp4

The recordings are those of the films' centre channel, and are the speech stem. With `--separate`, both
stems are made of the sound of the .mp4 instead, as the paper does. Source: https://github.com/chenqi008/V2C
(Chen et al., 2022): its script cuts the dataset out of films that users own, so clips have no licence unless
`--licence` names one.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import ClassVar

from dualdub_jax.data_pipeline.builders.base import Dropped, Item
from dualdub_jax.data_pipeline.builders.clips.builder import ClipBuilder
from dualdub_jax.data_pipeline.builders.clips.download import Download
from dualdub_jax.data_pipeline.builders.clips.source_clip import SourceClip
from dualdub_jax.stores.path import StorePath, as_path, find_files

_DOWNLOAD = Download(
    "V2C-Animation",
    "https://github.com/chenqi008/V2C",
    "of the films, which are copyrighted",
    "movie_dataset/FILM/FILM_videos/CHARACTER/0034.mp4 and "
    "FILM/FILM_speeches/CHARACTER/00/CHARACTER-00-0034.wav with .normalized.txt",
)
_FILM = re.compile(r"(?P<film>[^/]+)/(?P=film)_videos/(?P<who>[^/]+)/(?P<number>[^/]+)\.mp4$")
_SPEECH = re.compile(
    r"(?P<film>[^/]+)/(?P=film)_speeches/(?P<who>[^/]+)/.*-(?P<number>[^/-]+)\.(?:wav|flac)$"
)


@dataclasses.dataclass(frozen=True)
class V2CAnimation(ClipBuilder):
    """Lines of animated characters with their text, and another line of the character as the voice."""

    name: ClassVar[str] = "v2c_animation"
    description: ClassVar[str] = "Lines of animated characters: V2C-Animation."
    source_help: ClassVar[str] = "the folder movie_dataset, or the one above"
    example: ClassVar[str] = (
        "--source movie_dataset --separate audio-separator --separator-model vocals_mel_band_roformer.ckpt"
    )

    def check_source(self) -> None:
        if not any(_FILM.search(str(path)) for path in self.files()):
            raise _DOWNLOAD.missing(self.source)

    def files(self) -> Sequence[StorePath]:
        folder = as_path(self.source)
        found = find_files(folder, "*") if folder.is_dir() else []
        return [path for path in found if path.name.endswith((".mp4", ".wav", ".flac", ".normalized.txt"))]

    def items(self) -> Iterator[tuple[Item, str]]:
        return self.split_items(self._clips())

    def _clips(self) -> Iterator[SourceClip | Dropped]:
        files = self.files()
        speeches = {_place(match): path for path in files if (match := _SPEECH.search(str(path)))}
        for path in files:
            match = _FILM.search(str(path))
            if match is None:
                continue
            name, speech = "/".join(_place(match)), speeches.get(_place(match))
            if speech is None:
                yield Dropped(name, "its recording is not there", f"of {path.name}", "index")
                continue
            text = speech.parent / f"{speech.name.rpartition('.')[0]}.normalized.txt"
            yield SourceClip(
                id=name,
                media={"video": path} | ({} if self.separate else {"speech": speech}),
                text=text.read_bytes().decode("utf-8-sig", "replace").strip() if text.is_file() else None,
                speaker=f"{match['film']}/{match['who']}",
                language="en",
            )


def _place(match: re.Match[str]) -> tuple[str, str, str]:
    return match["film"], match["who"], match["number"]
