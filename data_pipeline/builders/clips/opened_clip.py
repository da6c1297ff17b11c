"""A source clip with its files open: its times, its script, its sounds, and why it gives no record."""

import contextlib
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction

from dualdub_jax.data_pipeline.builders.base import Dropped
from dualdub_jax.data_pipeline.builders.clips.clip_settings import ClipSettings
from dualdub_jax.data_pipeline.builders.clips.cutting import MIN_CLIP_S
from dualdub_jax.data_pipeline.builders.clips.sound import (
    Sound,
    SoundReader,
    is_cut_off,
    read_sound,
    sound_end_s,
)
from dualdub_jax.data_pipeline.builders.clips.source_clip import SourceClip, Word
from dualdub_jax.data_pipeline.builders.clips.spoken import spoken_text, spoken_words, written_words
from dualdub_jax.data_pipeline.builders.clips.word_times import MAX_ALIGNED_S, align
from dualdub_jax.errors import UserError
from dualdub_jax.media.container import open_media, video_stream
from dualdub_jax.media.timing import Timing, scan_timing

STEMS = ("speech", "background")


class OpenedClip:
    """A source clip whose files are open: where it begins and ends, its script, and its sounds.

    Args:
        clip: of the source.
        files: local paths of its media.
        settings: of the build.
        stack: closes the files.

    Attributes:
        clip: of the source.
        files: local paths of its media.
        timing: of its film; None: it has none.
        start_s: of the clip on the clock of its film or its sounds, seconds.
        end_s: likewise.
        words: its words within these times; empty: unknown.
        script: what is spoken; None: unknown.
        readers: of the stems and the mix that are there: `read(start_s, end_s)`, one stretch after the other.
        written: the same words with case and punctuation; None: unknown.

    Raises:
        UserError, ValueError, OSError: a file cannot be opened.
    """

    def __init__(
        self,
        clip: SourceClip,
        files: Mapping[str, pathlib.Path],
        settings: ClipSettings,
        stack: contextlib.ExitStack,
    ) -> None:
        self.clip, self.files, self._settings = clip, files, settings
        self.timing = _timing(files["video"]) if "video" in files else None
        self.start_s = Fraction(clip.start_s).limit_denominator(1_000_000)
        self.readers: dict[str, Callable[[Fraction, Fraction], Sound]] = {}
        for name, origin_s in self._sounding():
            path = files[name]
            reader = stack.enter_context(SoundReader(path, origin_s + self.start_s))
            if reader.has_sound:
                self.readers[name] = functools.partial(_read, reader, origin_s)
            elif name != "video":
                raise UserError(f"{path}: no sound in it; give a sound file as its {name}")
        self.end_s = self._find_end()
        self.words = _within(clip, self.start_s, self.end_s)
        self.script = self._spoken_script()
        if settings.align_words and self.script and not self.words:
            self.words = self._align()
        self.written = written_words(clip.text, clip.language, self.script)

    def _sounding(self) -> Iterator[tuple[str, Fraction]]:
        """Media that may have sound, and when the clip's time zero is on each one's clock."""
        for name in (*STEMS, "audio"):
            if name in self.files:
                yield name, Fraction(0)
        if self.timing is not None and "audio" not in self.files and self.timing.num_pictures:
            yield "video", self.timing.start_s

    @property
    def mix(self) -> str:
        """The reader of the sound that is not divided into stems."""
        return "audio" if "audio" in self.readers else "video"

    def _find_end(self) -> Fraction:
        """Of the clip: of its film, or else of its longest sound, but not after `clip.end_s`."""
        if self.timing is not None:
            end_s = self.timing.end_s - self.timing.start_s if self.timing.num_pictures else Fraction(0)
        else:
            ends_s = [sound_end_s(self.files[name]) for name in self.readers]
            end_s = max((end_s for end_s in ends_s if end_s is not None), default=Fraction(0))
        wanted_s = self.clip.end_s
        return end_s if wanted_s is None else min(end_s, Fraction(wanted_s).limit_denominator(1_000_000))

    def _spoken_script(self) -> str | None:
        if self.words:
            return " ".join(text for text, _, _ in self.words)
        if self.clip.text is None:
            return None
        return spoken_text(self.clip.text, self.clip.language)

    def _align(self) -> tuple[Word, ...]:
        name = "speech" if "speech" in self.readers else self.mix
        if name not in self.readers or self.end_s - self.start_s > MAX_ALIGNED_S:
            return ()
        origin_s = self.timing.start_s if name == "video" else Fraction(0)
        sound = read_sound(self.files[name], origin_s + self.start_s, origin_s + self.end_s)
        start_s = float(self.start_s)
        return tuple((text, a + start_s, b + start_s) for text, a, b in align(sound, self.script))

    def reason_to_drop(self) -> Dropped | None:
        """Why the whole clip gives no record, if so."""
        name, length_s = self.clip.id, self.end_s - self.start_s
        if self.timing is not None and not self.timing.num_pictures:
            return Dropped(name, "no pictures", stage="open")
        if self.timing is None and not self.readers:
            return Dropped(name, "no media", "give a video, a sound file or a stem", "open")
        if not self.readers and self._settings.without_sound == "drop":
            return Dropped(name, "no sound", stage="open")
        if length_s <= 0:
            detail = f"from {float(self.start_s):g} s on, and it ends at {float(self.end_s):.2f} s"
            return Dropped(name, "is empty", detail, "cut")
        if length_s < MIN_CLIP_S and not self.script:
            return Dropped(name, f"shorter than {MIN_CLIP_S} s", f"{float(length_s):.2f} s", "cut")
        if self.clip.text and not self.script:
            return Dropped(name, "its text has no words", repr(self.clip.text[:60]), "script")
        if self.script and not self.words and (cut_off := self._cut_off()):
            return Dropped(name, "is cut off, and its text is not", f"{cut_off}; copy it again", "open")
        if self.script and not self.words and length_s > self.clip_s:
            detail = f"{float(length_s):.2f} s, and clips have {float(self.clip_s):g} s"
            return Dropped(name, "script without word times is longer than a clip", detail, "cut")
        return None

    def _cut_off(self) -> str:
        """The file that lacks the end of the clip, so that words of an untimed text may be in none; or ""."""
        if self.clip.end_s is not None and self.end_s >= self.clip.end_s:
            return ""
        if self.timing is not None and self.timing.num_cut_off:
            return f"{self.files['video'].name} lacks {self.timing.num_cut_off} pictures of its end"
        found = (name for name in self.readers if name != "video" and is_cut_off(self.files[name]))
        return next((f"{self.files[name].name} is shorter than its header says" for name in found), "")

    @property
    def clip_s(self) -> Fraction:
        """Longest record, seconds."""
        return Fraction(self._settings.clip_s).limit_denominator(1000)


def _timing(path: pathlib.Path) -> Timing:
    with open_media(path, "video") as container:
        return scan_timing(container, video_stream(container, path))


def _read(reader: SoundReader, origin_s: Fraction, start_s: Fraction, end_s: Fraction) -> Sound:
    return reader.read(origin_s + start_s, origin_s + end_s)


def _within(clip: SourceClip, start_s: Fraction, end_s: Fraction) -> tuple[Word, ...]:
    words = spoken_words(sorted(clip.words, key=lambda word: word[1]), clip.language)
    return tuple(word for word in words if float(start_s) <= word[1] < float(end_s))
