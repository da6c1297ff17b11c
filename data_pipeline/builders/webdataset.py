"""`dualdub data build webdataset`: tar shards as the WebDataset library writes them.

The files of a sample follow one another and share the part of their name before the first dot, the sample's
key. The rest tells what a file is for: `mp4` (or another suffix of films), `wav` or `flac` (the mix),
`speech.wav`, `background.flac`, `voice.wav` and the like, `txt` (the text), `json` (an object with columns
of a manifest). Others are not looked at. Source: https://github.com/webdataset/webdataset, its README.
"""

import dataclasses
import itertools
import json
import pathlib
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, ClassVar

from dualdub_jax.data_pipeline.builders.base import Dropped, Item
from dualdub_jax.data_pipeline.builders.clips.builder import ClipBuilder
from dualdub_jax.data_pipeline.builders.clips.media_file import TarMember
from dualdub_jax.data_pipeline.builders.clips.rows import COLUMNS, VIDEO_SUFFIXES, clip_of_row, find_columns
from dualdub_jax.data_pipeline.builders.clips.shard_names import find_shards
from dualdub_jax.data_pipeline.builders.clips.source_clip import SourceClip
from dualdub_jax.errors import UserError
from dualdub_jax.stores.failures import store_errors
from dualdub_jax.stores.local_copy import local_copy
from dualdub_jax.stores.path import StorePath, as_path

SOUND_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac")
_STEMS = ("audio", "speech", "background", "voice")
_MAX_TEXT_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class WebDataset(ClipBuilder):
    """Samples of tar shards, each with its media and, in `json` or `txt`, what is known of them."""

    name: ClassVar[str] = "webdataset"
    description: ClassVar[str] = "Samples of WebDataset shards."
    source_metavar: ClassVar[str] = "SHARDS"
    source_help: ClassVar[str] = (
        "tar files: 'shards/{000..099}.tar', 'shards/*.tar', or a folder; also gs:// or s3://, without *"
    )
    example: ClassVar[str] = "--source 'shards/{000..099}.tar' --name clips"

    def plain_name(self, name: str) -> str:
        shard = self.files()[0] if self.files() else as_path(self.source)
        return shard.parent.name or "shards"

    def check_source(self) -> None:
        shards = self.files()
        if not shards:
            raise UserError(
                f"{self.source}: no .tar file there; give the shards, such as 'shards/{{000..099}}.tar'"
            )
        missing = [shard for shard in shards if not _is_file(shard)]
        if missing:
            raise UserError(
                f"{missing[0]}: no such shard ({len(missing)} of {len(shards)} are missing); correct --source"
            )
        if packed := next((shard for shard in shards if not shard.name.endswith(".tar")), None):
            raise UserError(
                f"{packed}: expected an uncompressed .tar; unpack it with gunzip or the like first"
            )

    def files(self) -> Sequence[StorePath]:
        return find_shards(str(self.source))

    def items(self) -> Iterator[tuple[Item, str]]:
        return self.split_items(itertools.chain.from_iterable(map(self._samples, self.files())))

    def _samples(self, shard: StorePath) -> Iterator[SourceClip | Dropped]:
        """The samples of a shard, by the headers of its members alone."""
        try:
            with local_copy(shard).open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
                members = (member for member in tar if member.isfile())
                for key, group in itertools.groupby(members, lambda member: _key(member.name)):
                    yield self._sample(shard, file, key, list(group))
        except (tarfile.TarError, EOFError, OSError) as error:
            yield Dropped(str(shard.name), "damaged shard", str(error), "index")

    def _sample(
        self, shard: StorePath, file: IO[bytes], key: str, members: Sequence[tarfile.TarInfo]
    ) -> SourceClip | Dropped:
        facts: dict[str, Any] = {}
        media: dict[str, TarMember] = {}
        # Keys may begin anew in every shard.
        name = f"{shard.name.removesuffix('.tar')}/{key}"
        try:
            for member in members:
                use = _use(_extension(member.name))
                if use in ("json", "text"):
                    content = _text(file, member)
                    facts |= {use: content.strip()} if use == "text" else _object(content)
                elif use:
                    base = pathlib.PurePosixPath(member.name).name
                    media[use] = TarMember(shard, member.offset_data, member.size, base)
            if not set(media) - {"voice"}:
                found = ", ".join(pathlib.PurePosixPath(member.name).name for member in members)
                raise ValueError(f"has no film and no sound, such as KEY.mp4 or KEY.wav, only {found}")
            # Media are those of the sample, whatever paths its facts have.
            row = facts | media
            columns = find_columns(row, {}, key) | {"id": ""}
            clip = clip_of_row(row, columns, name, _medium)
        except (ValueError, UserError) as error:
            return Dropped(name, "bad sample", str(error), "index")
        return clip if clip.group else dataclasses.replace(clip, group=name)


def _is_file(shard: StorePath) -> bool:
    with store_errors(shard):
        return shard.is_file()


def _key(name: str) -> str:
    folder, _, base = name.rpartition("/")
    return (f"{folder}/" if folder else "").removeprefix("./") + base.partition(".")[0]


def _extension(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[2].lower()


def _use(extension: str) -> str:
    """What a member is for: a medium, "json", "text", or "" if it is not looked at."""
    use, _, suffix = extension.rpartition(".")
    if f".{suffix}" in VIDEO_SUFFIXES:
        return "video" if use in ("", "video") else ""
    if f".{suffix}" in SOUND_SUFFIXES:
        return next((stem for stem in _STEMS if use in (stem, *COLUMNS[stem])), "" if use else "audio")
    return {"json": "json", "txt": "text"}.get(extension, "")


def _text(file: IO[bytes], member: tarfile.TarInfo) -> str:
    position = file.tell()
    file.seek(member.offset_data)
    content = file.read(min(member.size, _MAX_TEXT_BYTES))
    file.seek(position)
    return content.decode("utf-8-sig")


def _object(content: str) -> Mapping[str, Any]:
    found = json.loads(content)
    if not isinstance(found, Mapping):
        raise ValueError("its json is no object")
    return found


def _medium(value: Any) -> TarMember | None:
    return value if isinstance(value, TarMember) else None
