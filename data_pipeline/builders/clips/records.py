"""One source clip to records: opened, cut, its sound divided into stems, and written as the schema asks."""

import contextlib
import errno
import functools
import json
import os
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import av
import numpy as np

from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.builders.base import Dropped
from dualdub_jax.data_pipeline.builders.clips.clip_settings import ClipSettings
from dualdub_jax.data_pipeline.builders.clips.cutting import Cutter, words_in
from dualdub_jax.data_pipeline.builders.clips.media_file import as_local_files
from dualdub_jax.data_pipeline.builders.clips.opened_clip import STEMS, OpenedClip
from dualdub_jax.data_pipeline.builders.clips.separators import Separator, make_separator
from dualdub_jax.data_pipeline.builders.clips.shots import shot_changes_s
from dualdub_jax.data_pipeline.builders.clips.small_video import SmallVideo, Span, small_videos
from dualdub_jax.data_pipeline.builders.clips.sound import Sound, read_sound, sound_end_s
from dualdub_jax.data_pipeline.builders.clips.source_clip import SourceClip
from dualdub_jax.data_pipeline.record import Record
from dualdub_jax.errors import UserError

MAX_VOICE_S = 10


def make_records(clip: SourceClip, settings: ClipSettings) -> Iterator[Record | Dropped]:
    """The records of a source clip, one after the other; whatever is wrong with it is a `Dropped`."""
    if settings.licence_allow and clip.licence not in settings.licence_allow:
        yield Dropped(clip.id, f"licence {clip.licence or 'unknown'} is not allowed", stage="licence")
        return
    stage, files = "open", {}
    try:
        with as_local_files(clip.media) as files, contextlib.ExitStack() as stack:
            opened = OpenedClip(clip, files, settings, stack)
            dropped = opened.reason_to_drop()
            if dropped is not None:
                yield dropped
                return
            stage = "read"
            yield from _Cutting(opened, settings).records()
    except (UserError, ValueError, av.error.FFmpegError, OSError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # of the temporary folder: no fault of the clip
        detail = " ".join(str(error).split())
        for path in files.values():  # folders differ between machines, and temporary ones between runs
            detail = detail.replace(f"{path.parent}{os.sep}", "")
        reason = {"open": "cannot be opened", "read": "cannot be read"}[stage]
        yield Dropped(clip.id, reason, detail, stage)


class _Cutting:
    """Cuts an opened clip into records."""

    def __init__(self, opened: OpenedClip, settings: ClipSettings) -> None:
        self._opened, self._settings = opened, settings

    def records(self) -> Iterator[Record | Dropped]:
        """One after the other; what is dropped comes in its place."""
        opened = self._opened
        dropped: list[Dropped] = []
        is_cut = opened.end_s - opened.start_s > opened.clip_s
        for number, (span, video) in enumerate(self._pictures(self._spans(is_cut, dropped))):
            yield from dropped
            dropped.clear()
            where = f"{opened.clip.id} at {float(span.start_s):.2f} s" if is_cut else opened.clip.id
            if opened.timing is not None and (video is None or video.is_damaged):
                reason = "damaged pictures" if video else "pictures cannot be decoded"
                yield Dropped(where, reason, stage="read")
                continue
            stems = self._stems(span)
            reason = self._too_quiet(stems)
            if reason:
                yield Dropped(where, *reason, stage="level")
                continue
            if self._is_mute(span, stems):
                yield Dropped(where, "has a text, and its speech is silent", stage="level")
                continue
            clip_id = f"{opened.clip.id}/{number:05d}" if is_cut else opened.clip.id
            yield self._record(clip_id, span, video, stems, is_cut)
        yield from dropped

    def _spans(self, is_cut: bool, dropped: list[Dropped]) -> Iterator[Span]:
        opened = self._opened
        if not is_cut:
            yield Span(opened.start_s, opened.end_s)
            return
        use_shots = self._settings.cut == "quiet" and opened.timing is not None
        shots_s = (
            shot_changes_s(opened.files["video"], opened.timing, opened.start_s, opened.end_s)
            if use_shots
            else []
        )
        words = [(text, a - float(opened.start_s), b - float(opened.start_s)) for text, a, b in opened.words]
        cutter = Cutter(
            opened.end_s - opened.start_s,
            opened.clip_s,
            self._settings.cut,
            words,
            [shot_s - opened.start_s for shot_s in shots_s],
            lambda start_s, end_s: self._guide(start_s + opened.start_s, end_s + opened.start_s),
        )
        for span in cutter.spans():
            if isinstance(span, Span):
                yield Span(span.start_s + opened.start_s, span.end_s + opened.start_s)
            else:
                where = f"{opened.clip.id} at {span + float(opened.start_s):.2f} s"
                dropped.append(Dropped(where, "a word is longer than a clip", stage="cut"))

    def _guide(self, start_s: Fraction, end_s: Fraction) -> Sound | None:
        """The sound whose pauses decide where clips end."""
        opened = self._opened
        for name in (opened.mix, *STEMS):
            if name in opened.readers:
                return opened.readers[name](start_s, end_s)
        return None

    def _pictures(self, spans: Iterator[Span]) -> Iterator[tuple[Span, SmallVideo | None]]:
        opened = self._opened
        if opened.timing is None:
            return ((span, None) for span in spans)
        return small_videos(opened.files["video"], opened.timing, spans, self._settings.short_side)

    def _stems(self, span: Span) -> dict[str, Sound]:
        opened = self._opened
        stems = {name: opened.readers[name](*span) for name in STEMS if name in opened.readers}
        if opened.mix not in opened.readers or stems:
            return stems
        mix = opened.readers[opened.mix](*span)
        if self._settings.separate:
            made = _separator(self._settings).separate(mix)
            return {name: Sound(getattr(made, name), mix.sample_rate_hz) for name in STEMS}
        name = self._settings.mix_as
        return {("speech" if opened.script else "background") if name == "auto" else name: mix}

    def _is_mute(self, span: Span, stems: Mapping[str, Sound]) -> bool:
        """Whether words are said in a span of which the speech is digital silence."""
        words, script = self._opened.words, self._opened.script
        has_words = bool(words_in(words, span)) if words else bool(script)
        return has_words and "speech" in stems and not stems["speech"].samples.any()

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
        opened = self._opened
        clip = opened.clip
        words = words_in(opened.words, span)
        source: dict[str, Any] = {"id": clip.id, "start_s": round(float(span.start_s), 4)}
        events: dict[str, Any] = {**clip.notes, "source": source}
        speech = {"words": words} if words else {}
        if opened.written is not None:
            speech["written"] = self._written_in(span) if is_cut else " ".join(opened.written)
        if clip.speaker:
            speech["voice_id"] = clip.speaker
        if speech:
            events["speech"] = speech
        if clip.language:
            events["language"] = clip.language
        fields: dict[str, Any] = {}
        if opened.script is not None:
            fields["script"] = " ".join(text for text, _, _ in words) if is_cut else opened.script
        length_s = float(span.end_s - span.start_s)
        for name, sound in stems.items():
            fields[name] = record.encode_flac(_fitted(sound, length_s), sound.sample_rate_hz)
        if "voice" in opened.files:
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
        pairs = zip(self._opened.written, self._opened.words, strict=True)
        return " ".join(text for text, word in pairs if span.start_s <= word[1] < span.end_s)

    @functools.cached_property
    def _voice(self) -> bytes:
        try:
            sound = self._read_voice()
        except (UserError, ValueError, av.error.FFmpegError):
            if not self._opened.clip.lent_voice:
                raise
            return b""
        if self._opened.clip.lent_voice == "mix" and self._settings.separate:
            sound = sound._replace(samples=_separator(self._settings).separate(sound).speech)
        return record.encode_flac(sound.samples, sound.sample_rate_hz)

    def _read_voice(self) -> Sound:
        opened = self._opened
        path = opened.files["voice"]
        start_s, end_s = opened.clip.voice_span_s or (0.0, None)
        start_s = Fraction(start_s).limit_denominator(1_000_000)
        end_s = sound_end_s(path) if end_s is None else Fraction(end_s).limit_denominator(1_000_000)
        if end_s is None:
            raise UserError(f"{path}: no sound in it; give a recording of the voice")
        return read_sound(path, start_s, min(end_s, start_s + MAX_VOICE_S))


def _fitted(sound: Sound, length_s: float) -> np.ndarray:
    num_samples = round(length_s * sound.sample_rate_hz)
    samples = sound.samples[:num_samples]
    return np.pad(samples, (0, num_samples - len(samples)))


@functools.cache  # models take seconds to load
def _separator(settings: ClipSettings) -> Separator:
    return make_separator(settings.separate, settings.separator_model)
