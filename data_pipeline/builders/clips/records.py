"""One source clip to records: opened, cut, its sound divided into stems, and written as the schema asks."""

import contextlib
import dataclasses
import errno
import functools
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, Literal

import av
import numpy as np

from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.builders.base import Dropped
from dualdub_jax.data_pipeline.builders.clips.cutting import MIN_CLIP_S, Cut, Cutter, words_in
from dualdub_jax.data_pipeline.builders.clips.media_file import as_local_files
from dualdub_jax.data_pipeline.builders.clips.separators import Separator, make_separator
from dualdub_jax.data_pipeline.builders.clips.shots import shot_changes_s
from dualdub_jax.data_pipeline.builders.clips.small_video import SmallVideo, Span, small_videos
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
from dualdub_jax.data_pipeline.record import Record
from dualdub_jax.errors import UserError
from dualdub_jax.media.container import open_media, video_stream
from dualdub_jax.media.timing import Timing, scan_timing

MAX_VOICE_S = 10
_STEMS = ("speech", "background")


@dataclasses.dataclass(frozen=True)
class ClipSettings:
    """How source clips become records.

    Attributes:
        clip_s: longest clip, seconds.
        cut: how longer ones are cut, see `cutting.Cutter`.
        short_side: shorter side of the stored pictures, pixels; smaller pictures keep their size.
        without_sound: "keep" clips without any sound with their video alone, or "drop" them.
        mix_as: which stem sound becomes that is not separated: "speech", "background", or "auto": speech
            if the clip has words, or else background.
        separate: "" (not at all), "gate" or "audio-separator".
        separator_model: a checkpoint's file for "audio-separator".
        min_stem_db: clips with both stems are dropped if either is below this level, dBFS; None: none is.
        align_words: find the times of words where they are unknown.
        licence_allow: only clips with one of these licences; empty: all.
    """

    clip_s: float = 4.0
    cut: Cut = "quiet"
    short_side: int = 224
    without_sound: Literal["keep", "drop"] = "keep"
    mix_as: Literal["auto", "speech", "background"] = "auto"
    separate: str = ""
    separator_model: pathlib.Path | None = None
    min_stem_db: float | None = None
    align_words: bool = False
    licence_allow: tuple[str, ...] = ()


def make_records(clip: SourceClip, settings: ClipSettings) -> Iterator[Record | Dropped]:
    """The records of a source clip, one after the other; whatever is wrong with it is a `Dropped`."""
    if settings.licence_allow and clip.licence not in settings.licence_allow:
        yield Dropped(clip.id, f"licence {clip.licence or 'unknown'} is not allowed", stage="licence")
        return
    stage, files = "open", {}
    try:
        with as_local_files(clip.media) as files, contextlib.ExitStack() as stack:
            opened = _Opened(clip, files, settings, stack)
            dropped = opened.reason_to_drop()
            if dropped is not None:
                yield dropped
                return
            stage = "read"
            yield from opened.records()
    except (UserError, ValueError, av.error.FFmpegError, OSError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # of the temporary folder: no fault of the clip
        detail = " ".join(str(error).split())
        for path in files.values():  # folders differ between machines, and temporary ones between runs
            detail = detail.replace(f"{path.parent}{os.sep}", "")
        reason = {"open": "cannot be opened", "read": "cannot be read"}[stage]
        yield Dropped(clip.id, reason, detail, stage)


class _Opened:
    """A source clip whose files are open.

    Raises:
        UserError, ValueError, OSError: they cannot be.
    """

    def __init__(
        self,
        clip: SourceClip,
        files: Mapping[str, pathlib.Path],
        settings: ClipSettings,
        stack: contextlib.ExitStack,
    ) -> None:
        self._clip, self._files, self._settings = clip, files, settings
        self._timing = _timing(files["video"]) if "video" in files else None
        self._start_s = Fraction(clip.start_s).limit_denominator(1_000_000)
        self._readers = {}
        for name, origin_s in self._sounding():
            path = files[name]
            reader = stack.enter_context(SoundReader(path, origin_s + self._start_s))
            if reader.has_sound:
                self._readers[name] = functools.partial(_read, reader, origin_s)
            elif name != "video":
                raise UserError(f"{path}: no sound in it; give a sound file as its {name}")
        self._end_s = self._find_end()
        self._words = _within(clip, self._start_s, self._end_s)
        self._script = self._spoken_script()
        if settings.align_words and self._script and not self._words:
            self._words = self._align()
        self._written = written_words(clip.text, clip.language, self._script)

    def _sounding(self) -> Iterator[tuple[str, Fraction]]:
        """Media that may have sound, and when the clip's time zero is on each one's clock."""
        for name in (*_STEMS, "audio"):
            if name in self._files:
                yield name, Fraction(0)
        if self._timing is not None and "audio" not in self._files and self._timing.num_pictures:
            yield "video", self._timing.start_s

    @property
    def _mix(self) -> str:
        return "audio" if "audio" in self._readers else "video"

    def _find_end(self) -> Fraction:
        """Of the clip: of its film, or else of its longest sound, but not after `clip.end_s`."""
        if self._timing is not None:
            end_s = self._timing.end_s - self._timing.start_s if self._timing.num_pictures else Fraction(0)
        else:
            ends_s = [sound_end_s(self._files[name]) for name in self._readers]
            end_s = max((end_s for end_s in ends_s if end_s is not None), default=Fraction(0))
        wanted_s = self._clip.end_s
        return end_s if wanted_s is None else min(end_s, Fraction(wanted_s).limit_denominator(1_000_000))

    def _spoken_script(self) -> str | None:
        if self._words:
            return " ".join(text for text, _, _ in self._words)
        if self._clip.text is None:
            return None
        return spoken_text(self._clip.text, self._clip.language)

    def _align(self) -> tuple[Word, ...]:
        name = "speech" if "speech" in self._readers else self._mix
        if name not in self._readers or self._end_s - self._start_s > MAX_ALIGNED_S:
            return ()
        origin_s = self._timing.start_s if name == "video" else Fraction(0)
        sound = read_sound(self._files[name], origin_s + self._start_s, origin_s + self._end_s)
        start_s = float(self._start_s)
        return tuple((text, a + start_s, b + start_s) for text, a, b in align(sound, self._script))

    def reason_to_drop(self) -> Dropped | None:
        """Why the whole clip gives no record, if so."""
        name, length_s = self._clip.id, self._end_s - self._start_s
        if self._timing is not None and not self._timing.num_pictures:
            return Dropped(name, "no pictures", stage="open")
        if self._timing is None and not self._readers:
            return Dropped(name, "no media", "give a video, a sound file or a stem", "open")
        if not self._readers and self._settings.without_sound == "drop":
            return Dropped(name, "no sound", stage="open")
        if length_s <= 0:
            detail = f"from {float(self._start_s):g} s on, and it ends at {float(self._end_s):.2f} s"
            return Dropped(name, "is empty", detail, "cut")
        if length_s < MIN_CLIP_S and not self._script:
            return Dropped(name, f"shorter than {MIN_CLIP_S} s", f"{float(length_s):.2f} s", "cut")
        if self._clip.text and not self._script:
            return Dropped(name, "its text has no words", repr(self._clip.text[:60]), "script")
        if self._script and not self._words and (cut_off := self._cut_off()):
            return Dropped(name, "is cut off, and its text is not", f"{cut_off}; copy it again", "open")
        if self._script and not self._words and length_s > self._clip_s:
            detail = f"{float(length_s):.2f} s, and clips have {float(self._clip_s):g} s"
            return Dropped(name, "script without word times is longer than a clip", detail, "cut")
        return None

    def _cut_off(self) -> str:
        """The file that lacks the end of the clip, so that words of an untimed text may be in none; or ""."""
        if self._clip.end_s is not None and self._end_s >= self._clip.end_s:
            return ""
        if self._timing is not None and self._timing.num_cut_off:
            return f"{self._files['video'].name} lacks {self._timing.num_cut_off} pictures of its end"
        found = (name for name in self._readers if name != "video" and is_cut_off(self._files[name]))
        return next((f"{self._files[name].name} is shorter than its header says" for name in found), "")

    @property
    def _clip_s(self) -> Fraction:
        return Fraction(self._settings.clip_s).limit_denominator(1000)

    def records(self) -> Iterator[Record | Dropped]:
        dropped: list[Dropped] = []
        is_cut = self._end_s - self._start_s > self._clip_s
        for number, (span, video) in enumerate(self._pictures(self._spans(is_cut, dropped))):
            yield from dropped
            dropped.clear()
            where = f"{self._clip.id} at {float(span.start_s):.2f} s" if is_cut else self._clip.id
            if self._timing is not None and (video is None or video.is_damaged):
                reason = "damaged pictures" if video else "pictures cannot be decoded"
                yield Dropped(where, reason, stage="read")
                continue
            stems = self._stems(span)
            reason = self._too_quiet(stems)
            if reason:
                yield Dropped(where, *reason, stage="level")
                continue
            clip_id = f"{self._clip.id}/{number:05d}" if is_cut else self._clip.id
            yield self._record(clip_id, span, video, stems, is_cut)
        yield from dropped

    def _spans(self, is_cut: bool, dropped: list[Dropped]) -> Iterator[Span]:
        if not is_cut:
            yield Span(self._start_s, self._end_s)
            return
        use_shots = self._settings.cut == "quiet" and self._timing is not None
        shots_s = (
            shot_changes_s(self._files["video"], self._timing, self._start_s, self._end_s)
            if use_shots
            else []
        )
        words = [(text, a - float(self._start_s), b - float(self._start_s)) for text, a, b in self._words]
        cutter = Cutter(
            self._end_s - self._start_s,
            self._clip_s,
            self._settings.cut,
            words,
            [shot_s - self._start_s for shot_s in shots_s],
            lambda start_s, end_s: self._guide(start_s + self._start_s, end_s + self._start_s),
        )
        for span in cutter.spans():
            if isinstance(span, Span):
                yield Span(span.start_s + self._start_s, span.end_s + self._start_s)
            else:
                where = f"{self._clip.id} at {span + float(self._start_s):.2f} s"
                dropped.append(Dropped(where, "a word is longer than a clip", stage="cut"))

    def _guide(self, start_s: Fraction, end_s: Fraction) -> Sound | None:
        """The sound whose pauses decide where clips end."""
        for name in (self._mix, *_STEMS):
            if name in self._readers:
                return self._readers[name](start_s, end_s)
        return None

    def _pictures(self, spans: Iterator[Span]) -> Iterator[tuple[Span, SmallVideo | None]]:
        if self._timing is None:
            return ((span, None) for span in spans)
        return small_videos(self._files["video"], self._timing, spans, self._settings.short_side)

    def _stems(self, span: Span) -> dict[str, Sound]:
        stems = {name: self._readers[name](*span) for name in _STEMS if name in self._readers}
        if self._mix not in self._readers or stems:
            return stems
        mix = self._readers[self._mix](*span)
        if self._settings.separate:
            made = _separator(self._settings).separate(mix)
            return {name: Sound(getattr(made, name), mix.sample_rate_hz) for name in _STEMS}
        name = self._settings.mix_as
        return {("speech" if self._script else "background") if name == "auto" else name: mix}

    def _too_quiet(self, stems: Mapping[str, Sound]) -> tuple[str, str] | None:
        limit_db = self._settings.min_stem_db
        if limit_db is None or len(stems) < 2:
            return None
        for name, sound in stems.items():
            level_db = record.level_dbfs(sound.samples)
            if level_db < limit_db:
                return f"{name} is below {limit_db:g} dB", f"{level_db:.1f} dBFS"
        return None

    def _record(
        self, clip_id: str, span: Span, video: SmallVideo | None, stems: Mapping[str, Sound], is_cut: bool
    ) -> Record:
        clip = self._clip
        words = words_in(self._words, span)
        source: dict[str, Any] = {"id": clip.id, "start_s": round(float(span.start_s), 4)}
        events: dict[str, Any] = {**clip.notes, "source": source}
        speech = {"words": words} if words else {}
        if self._written is not None:
            speech["written"] = self._written_in(span) if is_cut else " ".join(self._written)
        if clip.speaker:
            speech["voice_id"] = clip.speaker
        if speech:
            events["speech"] = speech
        if clip.language:
            events["language"] = clip.language
        fields: dict[str, Any] = {}
        if self._script is not None:
            fields["script"] = " ".join(text for text, _, _ in words) if is_cut else self._script
        length_s = float(span.end_s - span.start_s)
        for name, sound in stems.items():
            fields[name] = record.encode_flac(_fitted(sound, length_s), sound.sample_rate_hz)
        if "voice" in self._files:
            fields["voice"] = self._voice
        return record.make(
            id=clip_id,
            duration_s=length_s,
            video=video.mp4 if video else b"",
            licence=clip.licence,
            events=json.dumps(events),
            **fields,
        )

    def _written_in(self, span: Span) -> str:
        pairs = zip(self._written, self._words, strict=True)
        return " ".join(text for text, word in pairs if span.start_s <= word[1] < span.end_s)

    @functools.cached_property
    def _voice(self) -> bytes:
        try:
            sound = self._read_voice()
        except (UserError, ValueError, av.error.FFmpegError):
            if not self._clip.lent_voice:
                raise
            return b""
        if self._clip.lent_voice == "mix" and self._settings.separate:
            sound = sound._replace(samples=_separator(self._settings).separate(sound).speech)
        return record.encode_flac(sound.samples, sound.sample_rate_hz)

    def _read_voice(self) -> Sound:
        path = self._files["voice"]
        start_s, end_s = self._clip.voice_span_s or (0.0, None)
        start_s = Fraction(start_s).limit_denominator(1_000_000)
        end_s = sound_end_s(path) if end_s is None else Fraction(end_s).limit_denominator(1_000_000)
        if end_s is None:
            raise UserError(f"{path}: no sound in it; give a recording of the voice")
        return read_sound(path, start_s, min(end_s, start_s + MAX_VOICE_S))


def _timing(path: pathlib.Path) -> Timing:
    with open_media(path, "video") as container:
        return scan_timing(container, video_stream(container, path))


def _read(reader: SoundReader, origin_s: Fraction, start_s: Fraction, end_s: Fraction) -> Sound:
    return reader.read(origin_s + start_s, origin_s + end_s)


def _fitted(sound: Sound, length_s: float) -> np.ndarray:
    num_samples = round(length_s * sound.sample_rate_hz)
    samples = sound.samples[:num_samples]
    return np.pad(samples, (0, num_samples - len(samples)))


def _within(clip: SourceClip, start_s: Fraction, end_s: Fraction) -> tuple[Word, ...]:
    words = spoken_words(sorted(clip.words, key=lambda word: word[1]), clip.language)
    return tuple(word for word in words if float(start_s) <= word[1] < float(end_s))


@functools.cache  # models take seconds to load
def _separator(settings: ClipSettings) -> Separator:
    return make_separator(settings.separate, settings.separator_model)
