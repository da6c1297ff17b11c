"""Puppet Stage clips as `evaluation.clips.Clip`, whose soundtrack is the true one."""

import functools

from dualdub_jax.data_pipeline.builders.puppet_stage.clip import GRID, make_clip
from dualdub_jax.data_pipeline.builders.puppet_stage.voices import bank
from dualdub_jax.evaluation.contracts.clips import Clip


@functools.lru_cache(maxsize=256)
def puppet_clip(index: int, split: str = "test_seen", bank_name: str = "hibari", seed: int = 20) -> Clip:
    """Renders clip `index` (about 0.2 s) and gives its own stems as the soundtrack to be scored.

    Args:
        index: of the clip; some have no script (`text == ""`).
        split: "test_seen" or "test_unseen" voices.
        bank_name: "hibari" speaks English; "tone" buzzes and needs no package.
        seed: of the world.

    Returns:
        The clip; `other_voice` is a voice from the other half of the bank.
    """
    made = make_clip(bank_name, "soundtrack", seed, split, index)
    frames = made.frames
    return Clip(
        id=made.id,
        num_samples=made.num_frames * GRID.samples_per_frame,
        speech=made.speech,
        background=made.background,
        text=made.script,
        voice=made.voice,
        other_voice=_other_voice(made.events["speech"]["voice_id"], bank_name, split),
        true_speech=made.speech,
        true_background=made.background,
        load_frames=lambda: frames,
        world=made.events,
        group=split.removeprefix("test_"),
    )


def spoken_clips(
    count: int, split: str = "test_seen", bank_name: str = "hibari", seed: int = 20
) -> list[Clip]:
    """The first `count` clips in which somebody speaks."""
    clips, index = [], 0
    while len(clips) < count:
        clip = puppet_clip(index, split, bank_name, seed)
        clips += [clip] if clip.text else []
        index += 1
    return clips


@functools.lru_cache(maxsize=64)
def _other_voice(voice_id: str, bank_name: str, split: str):
    """float32[S]: up to three seconds of the voice half the bank away from `voice_id`."""
    voices = bank(bank_name)
    ids = voices.unseen if split == "test_unseen" else voices.seen
    other = ids[(ids.index(voice_id) + len(ids) // 2) % len(ids)]
    return voices.synthesise(other, "place red at three now and then set white by six again")[0][:48_000]
