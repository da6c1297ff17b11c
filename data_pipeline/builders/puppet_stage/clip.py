"""One clip of Puppet Stage as a pure function of (seed, task, split, index): film, stems, events."""

import dataclasses
import functools
import io
import json
from typing import Any, Literal

import av
import numpy as np

from dualdub_jax.config import GridConfig
from dualdub_jax.data_pipeline.builders.puppet_stage import acoustics, sentences, sounds
from dualdub_jax.data_pipeline.builders.puppet_stage.stage import Stage, draw_stage, plan_stage
from dualdub_jax.data_pipeline.builders.puppet_stage.voices import Spans, SpeechTimes, VoiceBank, bank
from dualdub_jax.data_pipeline.record import encode_flac
from dualdub_jax.dsp.acoustics import Acoustics

Task = Literal["text_speech", "video_audio", "soundtrack"]
TASKS: tuple[Task, ...] = ("text_speech", "video_audio", "soundtrack")

GRID = GridConfig()
LICENCE = "Apache-2.0"  # rendered here; the synthesiser's voices are Apache-2.0 too
MIN_FRAMES, MAX_FRAMES = 50, GRID.num_frames
_LEAD_IN_FRAMES, _LEAD_OUT_FRAMES = 2, 6
_GRID_SHARE = 0.75  # of the sentences; the rest is free English
_NO_SCRIPT_SHARE = 0.12
_REFERENCES_PER_VOICE = 40  # pairs of sentences a split; few enough that a process keeps them
_PEAK = 0.95
# With lookahead, x264's choices on tiny frames differ from run to run (measured, on one thread too).
_X264 = "bframes=0:rc-lookahead=0:sync-lookahead=0:mbtree=0:weightp=0"


@dataclasses.dataclass(frozen=True)
class Clip:
    """A clip before encoding; None where the task has none.

    Attributes:
        id: unique in the dataset.
        frames: uint8[T, 64, 64, 3].
        speech: float32[S], the speech stem; all zeros in a clip without speech.
        background: float32[S], the background stem.
        voice: float32[R], the reference recording, at most 3 s.
        script: the words spoken.
        has_script: False where the script is unknown.
        num_frames: T; S is T times the samples of a grid frame.
        events: the clip's annotations, ready for JSON.
    """

    id: str
    frames: np.ndarray | None
    speech: np.ndarray | None
    background: np.ndarray | None
    voice: np.ndarray | None
    script: str
    has_script: bool
    num_frames: int
    events: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class _Line:
    """The utterance of a clip: script, its kind, voice, dry samples, and their start."""

    script: str
    kind: str
    voice_id: str
    samples: np.ndarray
    times: SpeechTimes | None
    start_sample: int
    num_frames: int


def make_clip(bank_name: str, task: Task, seed: int, split: str, index: int) -> Clip:
    """Renders one clip.

    Args:
        bank_name: the voice bank, see `voices.bank`.
        task: one of `TASKS`.
        seed: of the whole dataset.
        split: one of `sentences.SPLITS`.
        index: of the clip in its split.

    Returns:
        The clip; the same for the same arguments, whatever was rendered before.
    """
    entropy = np.random.SeedSequence(
        seed, spawn_key=(TASKS.index(task), sentences.SPLITS.index(split), index)
    )
    line_rng, stage_rng, sound_rng, room_rng = (np.random.default_rng(s) for s in entropy.spawn(4))
    line = _draw_line(line_rng, bank(bank_name), task, split)
    num_samples = line.num_frames * GRID.samples_per_frame
    dry_speech = np.zeros(num_samples, np.float32)
    dry_speech[line.start_sample : line.start_sample + len(line.samples)] = line.samples
    mouth = acoustics.speech_envelope(dry_speech, GRID.samples_per_frame, line.num_frames)

    room = acoustics.draw_acoustics(room_rng)
    response = acoustics.impulse_response(room_rng, room.rt60_s)
    events: dict[str, Any] = {"task": task, "seed": seed, "room": room._asdict()}
    frames = speech = background = None
    if task != "video_audio":
        speech = _speech_stem(room_rng, dry_speech, room, response)
        events["speech"] = _speech_events(line)
    if task != "text_speech":
        has_puppet = task == "soundtrack" or stage_rng.random() < 0.5
        plan = plan_stage(stage_rng, line.num_frames, has_puppet)
        frames = draw_stage(stage_rng, plan, mouth, GRID.frame_size)
        background = _background_stem(sound_rng, plan, mouth, room, response)
        events |= plan.events()
        events["mouth"] = mouth
    if speech is not None and background is not None:
        loudest = float(np.abs(speech + background).max())
        speech, background = (x * min(1.0, _PEAK / loudest) for x in (speech, background))
    voice = None
    if task != "video_audio":
        voice = _reference(line_rng, bank_name, line.voice_id, split, line.script)
    return Clip(
        id=f"{task}/{split}/{index:06d}",
        frames=frames,
        speech=speech,
        background=background,
        voice=voice,
        script=line.script,
        has_script=task != "video_audio",
        num_frames=line.num_frames,
        events=events,
    )


def _draw_line(rng: np.random.Generator, voices: VoiceBank, task: Task, split: str) -> _Line:
    ids = voices.unseen if split == "test_unseen" else voices.seen
    voice_id = ids[rng.integers(len(ids))]
    is_silent = task == "video_audio" or (task == "soundtrack" and rng.random() < _NO_SCRIPT_SHARE)
    num_frames = int(rng.integers(MIN_FRAMES, MAX_FRAMES + 1))
    if is_silent:
        return _Line("", "none", voice_id, np.zeros(0, np.float32), None, 0, num_frames)
    kind: sentences.Kind = "grid" if rng.random() < _GRID_SHARE else "free"
    longest = (MAX_FRAMES - _LEAD_IN_FRAMES - _LEAD_OUT_FRAMES) * GRID.samples_per_frame
    while True:
        script = sentences.draw(rng, split, kind)
        samples, times = voices.synthesise(voice_id, script)
        if len(samples) <= longest:
            break
    level_db = rng.uniform(-4.0, -1.0)  # of -20 dBFS: about -23 LUFS with its pauses
    samples = samples * np.float32(10 ** (level_db / 20))
    spoken_frames = -(-len(samples) // GRID.samples_per_frame)
    num_frames = max(num_frames, spoken_frames + _LEAD_IN_FRAMES + _LEAD_OUT_FRAMES)
    slack = (num_frames - _LEAD_IN_FRAMES - _LEAD_OUT_FRAMES) * GRID.samples_per_frame - len(samples)
    start_sample = _LEAD_IN_FRAMES * GRID.samples_per_frame + int(rng.integers(slack + 1))
    return _Line(script, kind, voice_id, samples, times, start_sample, num_frames)


def _speech_stem(
    rng: np.random.Generator, dry: np.ndarray, room: Acoustics, response: np.ndarray
) -> np.ndarray:
    """Speech in the room, over a light noise floor; digital silence in a clip without speech.

    Our choice: with a script the whole stem carries the noise floor, as a track recorded on set would;
    without one there is no recording, so any sound that a model generates there is ghost speech.
    """
    if not dry.any():
        return np.zeros_like(dry)
    floor_dbfs = room.noise_dbfs + acoustics.SPEECH_NOISE_OFFSET_DB
    return acoustics.reverberate(dry, acoustics.closer(response)) + acoustics.noise_floor(
        rng, len(dry), floor_dbfs
    )


def _background_stem(
    rng: np.random.Generator, plan: Stage, mouth: np.ndarray, room: Acoustics, response: np.ndarray
) -> np.ndarray:
    """Impacts, continuous sounds and ambience in the room, 3 dB lower under speech, over a noise floor."""
    num_samples = len(mouth) * GRID.samples_per_frame
    dry = sounds.ambience(plan.place, rng, num_samples)
    for thing in plan.things:
        for contact in thing.contacts:
            start = contact.frame * GRID.samples_per_frame
            hit = sounds.impact(thing.kind, rng, thing.tuning, contact.speed)[: num_samples - start]
            dry[start : start + len(hit)] += hit
    times = (np.arange(num_samples) + 0.5) / GRID.samples_per_frame
    for kind, strength in plan.continuous.items():
        # Frame t shows the strength at its beginning.
        dry += sounds.continuous(kind, rng, np.interp(times, np.arange(len(strength)), strength))
    kernel = np.hanning(13) / np.hanning(13).sum()
    speaking = np.convolve(np.pad(mouth, 6, mode="edge"), kernel, mode="valid")
    ducked = 1 - 0.3 * np.clip(np.interp(times - 0.5, np.arange(len(mouth)), speaking) / 0.5, 0, 1)
    wet = acoustics.reverberate((dry * ducked).astype(np.float32), response)
    return wet + acoustics.noise_floor(rng, num_samples, room.noise_dbfs)


def _speech_events(line: _Line) -> dict[str, Any]:
    start_s = line.start_sample / GRID.sample_rate_hz

    def in_clip(spans: Spans) -> list[list]:
        return [[name, start_s + begins_s, start_s + ends_s] for name, begins_s, ends_s in spans]

    return {
        "kind": line.kind,
        "voice_id": line.voice_id,
        "start_s": start_s if line.script else None,
        "end_s": start_s + len(line.samples) / GRID.sample_rate_hz if line.script else None,
        "words": in_clip(line.times.words) if line.times else None,
        "phonemes": in_clip(line.times.phonemes) if line.times else None,
    }


def _reference(
    rng: np.random.Generator, bank_name: str, voice_id: str, split: str, script: str
) -> np.ndarray:
    """Up to 3 s of `voice_id` in two sentences other than `script`: float32[R].

    Half of them are dry; the others have acoustics of their own, independent of the clip's.
    """
    first = int(rng.integers(_REFERENCES_PER_VOICE))
    spoken = (_reference_speech(bank_name, voice_id, split, first + i) for i in range(3))
    one, two = [samples for sentence, samples in spoken if sentence != script][:2]
    pause = np.zeros(GRID.sample_rate_hz // 5, np.float32)
    samples = np.concatenate([one, pause, two])[: GRID.num_voice_frames * GRID.samples_per_frame]
    samples[-400:] *= np.linspace(1, 0, 400, dtype=np.float32)
    if rng.random() < 0.5:
        response = acoustics.impulse_response(rng, float(rng.uniform(0.1, 0.4)))
        samples = acoustics.reverberate(samples, response)
        samples = samples + acoustics.noise_floor(rng, len(samples), float(rng.uniform(-65, -45)))
    return samples * np.float32(min(10 ** (rng.uniform(-6, 0) / 20), _PEAK / np.abs(samples).max()))


@functools.lru_cache(maxsize=4096)
def _reference_speech(bank_name: str, voice_id: str, split: str, number: int) -> tuple[str, np.ndarray]:
    """The voice's `number`th reference sentence, and its dry samples."""
    voices = bank(bank_name)
    place = (*voices.seen, *voices.unseen).index(voice_id)
    entropy = np.random.SeedSequence(0, spawn_key=(place, sentences.SPLITS.index(split), number))
    rng = np.random.default_rng(entropy)
    sentence = sentences.draw(rng, split, "grid" if rng.random() < _GRID_SHARE else "free")
    return sentence, voices.synthesise(voice_id, sentence)[0]


def to_record(clip: Clip) -> dict[str, Any]:
    """Encodes a clip as a record, see `dualdub_jax.data_pipeline.record.RECORD`."""
    return {
        "id": clip.id,
        "duration_s": clip.num_frames / GRID.frame_rate_hz,
        "video": b"" if clip.frames is None else encode_video(clip.frames, GRID.frame_rate_hz),
        "speech": b"" if clip.speech is None else encode_flac(clip.speech, GRID.sample_rate_hz),
        "background": b"" if clip.background is None else encode_flac(clip.background, GRID.sample_rate_hz),
        "voice": b"" if clip.voice is None else encode_flac(clip.voice, GRID.sample_rate_hz),
        "script": clip.script,
        "has_script": clip.has_script,
        "video_features": b"",
        "video_features_rate_hz": 0.0,
        "licence": LICENCE,
        "events": json.dumps(_rounded(clip.events), separators=(",", ":")),
    }


def encode_video(frames: np.ndarray, frame_rate_hz: int) -> bytes:
    """H.264 in MP4, 4:2:0, constant quality: the same bytes for the same uint8[T, height, width, 3]."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=frame_rate_hz)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18", "preset": "veryfast", "x264-params": _X264}
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def _rounded(value: Any) -> Any:
    """JSON-ready copy with numbers at four decimals."""
    if isinstance(value, dict):
        return {key: _rounded(v) for key, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_rounded(v) for v in value]
    return round(float(value), 4) if isinstance(value, float | np.floating) else value
