"""`dualdub data build grid`: the GRID audiovisual sentence corpus, 34 speakers with six words a sentence.

    GRID/s1/bbaf2n.mpg                 also s1/video/mpg_6000/bbaf2n.mpg and the like
         audio_25k/s1/bbaf2n.wav       optional: otherwise the film's own sound is read
         alignments/s1/bbaf2n.align    optional: "START END WORD" in 1/25000 s; also in s1/align

A sentence's words are also in its file's name. In the archive's `alignments`, folders of many speakers are
exchanged (those of s5 and s6, …; the recipe of lhotse has a table): the times of a folder go to the speaker
whose sentences it has. Source: https://zenodo.org/records/3625687 (Cooke et al., 2006), CC BY 4.0.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import ClassVar

from dualdub_jax.data_pipeline.builders.base import Dropped, Item
from dualdub_jax.data_pipeline.builders.clips.builder import ClipBuilder
from dualdub_jax.data_pipeline.builders.clips.download import Download
from dualdub_jax.data_pipeline.builders.clips.source_clip import SourceClip, Word
from dualdub_jax.stores.path import StorePath, as_path, find_files

_DOWNLOAD = Download(
    "GRID corpus",
    "https://zenodo.org/records/3625687",
    "CC-BY-4.0",
    "s1/bbaf2n.mpg, and optionally audio_25k/s1/*.wav and alignments/s1/*.align",
)
_FILMS = (".mpg", ".mp4", ".avi", ".mov")
_UNITS_HZ = 25_000  # of the times in .align files
_PAUSES = ("sil", "sp")
_SPEAKER = re.compile(r"s\d+")
_CODE = re.compile(r"([blps])([bgrw])([abiw])([a-z])([z0-9])([anps])")
_DIGITS = ("zero", *["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
_CODED = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {},
    dict(zip("z0123456789", _DIGITS, strict=True)),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)


@dataclasses.dataclass(frozen=True)
class Grid(ClipBuilder):
    """Talking heads with speech, words and their times, and another sentence of the speaker as the voice."""

    name: ClassVar[str] = "grid"
    description: ClassVar[str] = "Talking heads with words and their times: GRID."
    source_help: ClassVar[str] = "folder with s1, s2 …, and optionally audio_25k and alignments"
    example: ClassVar[str] = "--source GRID --clip-s 4"

    def check_source(self) -> None:
        if not as_path(self.source).is_dir() or not any(_is_film(path) for path in self.files()):
            raise _DOWNLOAD.missing(self.source)

    def files(self) -> Sequence[StorePath]:
        found = find_files(as_path(self.source), "*")
        return [path for path in found if _is_film(path) or path.name.endswith((".wav", ".align"))]

    def items(self) -> Iterator[tuple[Item, str]]:
        return self.split_items(self._clips())

    def _clips(self) -> Iterator[SourceClip | Dropped]:
        files = self.files()
        sounds = {(_speaker(path), path.name): path for path in files if path.name.endswith(".wav")}
        aligned = _times_by_speaker(files)
        for film in filter(_is_film, files):
            speaker, name = _speaker(film), film.name.rpartition(".")[0]
            if not _CODE.fullmatch(name):
                yield Dropped(f"{speaker}/{film.name}", "is no sentence of GRID", stage="index")
                continue
            sound = sounds.get((speaker, f"{name}.wav"))
            times = aligned.get((speaker, name))
            try:
                words = _read_align(times) if times is not None else ()
            except ValueError as error:
                yield Dropped(f"{speaker}/{name}", "bad word times", str(error), "index")
                continue
            yield SourceClip(
                id=f"{speaker}/{name}",
                media={"video": film} | ({"speech": sound} if sound is not None else {}),
                text=" ".join(_sentence(name)),
                words=words,
                speaker=speaker,
                language="en",
                licence=_DOWNLOAD.licence,
            )


def _times_by_speaker(files: Sequence[StorePath]) -> dict[tuple[str, str], StorePath]:
    """(speaker, sentence) -> file of word times.

    A speaker has said 1000 of 64,000 sentences, so that two have few in common: the times of a folder are
    those of the speaker with the most of its sentences, the one that it is named for where that is a tie.
    """
    films: dict[str, set[str]] = {}
    times: dict[str, dict[str, StorePath]] = {}
    for path in files:
        speaker, name = _speaker(path), path.name.rpartition(".")[0]
        if _is_film(path):
            films.setdefault(speaker, set()).add(name)
        elif path.name.endswith(".align"):
            times.setdefault(speaker, {})[name] = path
    found: dict[tuple[str, str], StorePath] = {}
    for folder, of_folder in times.items():
        names = set(of_folder)
        speaker = max(films, key=lambda who: (len(names & films[who]), who == folder), default=folder)
        found |= {(speaker, name): path for name, path in of_folder.items()}
    return found


def _is_film(path: StorePath) -> bool:
    return path.name.lower().endswith(_FILMS)


def _speaker(path: StorePath) -> str:
    """The nearest folder that is called as a speaker."""
    return next((part for part in reversed(path.parts[:-1]) if _SPEAKER.fullmatch(part)), "unknown")


def _sentence(name: str) -> list[str]:
    return [words.get(letter, letter) for words, letter in zip(_CODED, name, strict=True)]


def _read_align(path: StorePath) -> tuple[Word, ...]:
    words = []
    for line in path.read_bytes().decode("utf-8-sig", "replace").split("\n"):
        if not line.strip():
            continue
        try:
            start, end, word = line.split()
            times_s = float(start) / _UNITS_HZ, float(end) / _UNITS_HZ
        except ValueError:
            raise ValueError(f"{path.name}: {line[:40]!r}, expected START END WORD") from None
        if word not in _PAUSES:
            words.append((word, *times_s))
    return tuple(words)
