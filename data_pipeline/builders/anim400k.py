"""`dualdub data build anim400k`: Anim-400K, dubbed clips of animated series in English or Japanese.

    Anim400K/anim400K_annotations.json                  (any anim400*.json: shows, episodes, clips)
             anim400k_video_clips/db/db019ebb-….mp4     a clip's ID is "db/db019ebb-…"
             anim400k_audio_clips/db/db019ebb-….mp3

Source: https://github.com/DavidMChan/Anim400K and its doc/README.md (Cai et al., 2024); access by a form with
terms of use and a non-disclosure agreement, so clips have no licence unless `--licence` names one.
"""

import argparse
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from dualdub_jax.data_pipeline.builders.base import Dropped, Item
from dualdub_jax.data_pipeline.builders.clips.builder import ClipBuilder
from dualdub_jax.data_pipeline.builders.clips.download import Download
from dualdub_jax.data_pipeline.builders.clips.source_clip import SourceClip
from dualdub_jax.errors import UserError
from dualdub_jax.stores.path import StorePath, as_path, find_files

_DOWNLOAD = Download(
    "Anim-400K",
    "https://github.com/DavidMChan/Anim400K",
    "terms of use, on request",
    "anim400K_annotations.json, anim400k_video_clips/db/ID.mp4 and anim400k_audio_clips/db/ID.mp3",
)
_VIDEO, _AUDIO = "anim400k_video_clips", "anim400k_audio_clips"
_LANGUAGES = {"en": "en", "jp": "ja"}


@dataclasses.dataclass(frozen=True)
class Anim400K(ClipBuilder):
    """Clips of series with their mix, which `--separate` divides, and the text of a speech recogniser.

    Attributes:
        dub: "en" or "jp", the language.
    """

    clip_s: float = 10.0
    dub: Literal["en", "jp"] = "en"

    name: ClassVar[str] = "anim400k"
    description: ClassVar[str] = "Dubbed clips of animated series: Anim-400K."
    source_help: ClassVar[str] = "folder with the annotations, anim400k_video_clips and anim400k_audio_clips"
    example: ClassVar[str] = (
        "--source Anim400K --separate audio-separator --separator-model vocals_mel_band_roformer.ckpt"
    )

    @classmethod
    def add_arguments(cls, parser: argparse._ActionsContainer) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dub", choices=("en", "jp"), default="en", help="language (default: en)")

    def check_source(self) -> None:
        folder = as_path(self.source)
        if self._annotations() is None or not (folder / _VIDEO).is_dir():
            raise _DOWNLOAD.missing(self.source)
        self._shows()

    def files(self) -> Sequence[StorePath]:
        folder = as_path(self.source)
        media = [path for name in (_VIDEO, _AUDIO) if (folder / name).is_dir()
                 for path in find_files(folder / name, "*")]  # fmt: skip
        return [self._annotations(), *media]

    def items(self) -> Iterator[tuple[Item, str]]:
        return self.split_items(self._clips())

    def _clips(self) -> Iterator[SourceClip | Dropped]:
        folder = as_path(self.source)
        there = {str(path) for path in self.files()}
        for show, facts in sorted(self._shows().items()):
            for number, episode in sorted((facts.get("episodes") or {}).items()):
                for place, clip in enumerate(episode.get("clips") or ()):
                    name = clip.get(f"{self.dub}_clip")
                    if not name:
                        yield Dropped(f"{show}/{number}/{place}", f"has no {self.dub} clip", stage="index")
                        continue
                    video, audio = folder / _VIDEO / f"{name}.mp4", folder / _AUDIO / f"{name}.mp3"
                    if str(video) not in there:
                        yield Dropped(name, "film is not there", stage="index")
                        continue
                    speakers = clip.get("speakers") or ()
                    text = clip.get(f"{self.dub}_text")
                    yield SourceClip(
                        id=name,
                        media={"video": video} | ({"audio": audio} if str(audio) in there else {}),
                        text=text.strip() or None if isinstance(text, str) else None,
                        # Of clips with several speakers nobody's voice is the reference.
                        speaker=f"{show}/{number}/{speakers[0]}" if len(speakers) == 1 else "",
                        language=_LANGUAGES[self.dub],
                        group=show,
                    )

    def _annotations(self) -> StorePath | None:
        found = [path for path in sorted(as_path(self.source).glob("*.json"), key=str)
                 if path.name.lower().startswith("anim400")]  # fmt: skip
        return found[0] if found else None

    def _shows(self) -> Mapping[str, Any]:
        path = self._annotations()
        try:
            shows = json.loads(path.read_text(encoding="utf-8-sig"))
        except ValueError as error:
            raise UserError(f"{path}: is not JSON ({error}); download it again") from error
        if not isinstance(shows, Mapping):
            raise UserError(f"{path}: is no object of shows; give the annotations of Anim-400K")
        return shows
