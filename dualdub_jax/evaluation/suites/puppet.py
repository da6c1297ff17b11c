"""The puppet suite: held-out clips of Puppet Stage, rendered on the fly, with exact annotations.

This is the only module of the package that imports the world's renderer, so that an evaluation needs no
dataset. Films and stems pass through the video encoder and the FLAC of the training data. The world's seed
differs from that of the training data, so no clip was trained on. Sentences are those of the test splits;
half of the clips have voices of the training data ("seen"), half have held-out voices ("unseen").
"""

import functools
import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from dualdub_jax.data_pipeline.builders import puppet_stage
from dualdub_jax.data_pipeline.builders.puppet_stage import clip as stage_clip
from dualdub_jax.data_pipeline.builders.puppet_stage import voices
from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.suites.pictures import load_frames
from dualdub_jax.evaluation.suites.sound import read_track
from dualdub_jax.evaluation.suites.suite import Footage, Suite, contact_times_s, samples_of_frames

DEFAULT_LIMIT = 200
DEFAULT_WORLD_SEED = 1  # the training data uses 0
_SPLITS = {
    "test": ("test_seen", "test_unseen"),
    "test_seen": ("test_seen",),
    "test_unseen": ("test_unseen",),
    "validation": ("validation",),
}
_GROUPS = {"test_seen": "seen", "test_unseen": "unseen", "validation": "seen"}
_MEDIA = ("speech", "background", "voice")


class PuppetSuite(Suite):
    """Clips of the task "soundtrack"."""

    name = "puppet"

    def __init__(
        self,
        workdir: pathlib.Path,
        *,
        limit: int = DEFAULT_LIMIT,
        world_seed: int = DEFAULT_WORLD_SEED,
        split: str = "test",
        voice_bank: str = "hibari",
    ) -> None:
        """Selects the clips; rendering happens in `load`.

        Args:
            workdir: rendered clips are cached below it.
            limit: number of clips, divided evenly over the splits; a smaller limit selects a subset of a
                larger one.
            world_seed: of the world; 0 is that of the training data.
            split: "test" (half seen voices, half unseen), or one split of the dataset.
            voice_bank: see `dualdub_jax.data_pipeline.builders.puppet_stage.voices`.

        Raises:
            UserError: no such split, or the voices' package is not installed.
        """
        if split not in _SPLITS:
            raise UserError(f"--split {split}: no such split; choose one of {', '.join(_SPLITS)}")
        voices.bank(voice_bank)  # fails early if the voices' package is missing
        self._limit, self._world_seed, self._split, self._bank = limit, world_seed, split, voice_bank
        places = ((s, i) for i in itertools.count() for s in _SPLITS[split])
        self._places = {f"{s}-{i:06d}": (s, i) for s, i in itertools.islice(places, limit)}
        code = _code_sha256()
        self._folder = workdir / "films" / f"puppet-seed{world_seed}-{voice_bank}-{code[:8]}"

    @property
    def ids(self) -> Sequence[str]:
        return list(self._places)

    def load(self, clip_id: str) -> Footage:
        """Renders the clip unless cached. The other voice is that of the next clip with another speaker."""
        split, index = self._places[clip_id]
        known = self._rendered(split, index)
        voice_id = known["events"]["speech"]["voice_id"]
        other = next(
            i
            for i in itertools.count(index + 1)
            if self._rendered(split, i)["events"]["speech"]["voice_id"] != voice_id
        )
        audio = {name: self._audio(split, index, name) for name in _MEDIA}
        video = self._path(split, index, "mp4")
        clip = Clip(
            id=clip_id,
            num_samples=samples_of_frames(known["num_frames"]),
            text=known["script"],
            voice=audio["voice"],
            other_voice=self._audio(split, other, "voice"),
            true_speech=audio["speech"],
            true_background=audio["background"],
            load_frames=functools.partial(load_frames, video),
            video=video,
            world=known["events"],
            group=_GROUPS[split],
        )
        files = {name: {"true": self._path(split, index, f"{name}.flac")} for name in _MEDIA[:2]}
        notes = {
            "voice": voice_id,
            "other_voice": f"{split}-{other:06d}",
            "contacts_s": contact_times_s(known["events"]),
        }
        return Footage(clip, video, self._path(split, index, "voice.flac"), files, notes)

    def protocol(self) -> dict[str, Any]:
        return {
            "world": "Puppet Stage",
            "world_code_sha256": _code_sha256(),
            "world_seed": self._world_seed,
            "split": self._split,
            "limit": self._limit,
            "voice_bank": self._bank,
            "voices": "the dataset's reference recording of the same speaker",
        }

    def _path(self, split: str, index: int, suffix: str) -> pathlib.Path:
        return self._folder / f"{split}-{index:06d}.{suffix}"

    def _audio(self, split: str, index: int, name: str) -> Any:
        return read_track(self._path(split, index, f"{name}.flac"))

    @functools.lru_cache(maxsize=2048)  # noqa: B019 (a suite lives as long as its process)
    def _rendered(self, split: str, index: int) -> dict[str, Any]:
        """Renders the clip's files unless cached; returns its script, number of frames and events."""
        header = self._path(split, index, "json")
        if not header.is_file():
            clip = stage_clip.make_clip(self._bank, "soundtrack", self._world_seed, split, index)
            record = stage_clip.to_record(clip)
            self._folder.mkdir(parents=True, exist_ok=True)
            self._path(split, index, "mp4").write_bytes(record["video"])
            for name in _MEDIA:
                self._path(split, index, f"{name}.flac").write_bytes(record[name])
            known = {"script": record["script"], "num_frames": clip.num_frames}
            known["events"] = json.loads(record["events"])
            # The header is written last and atomically: if it exists, the other files are complete.
            temporary = header.with_suffix(f".{os.getpid()}.part")
            temporary.write_text(json.dumps(known), encoding="utf-8")
            temporary.replace(header)
        return json.loads(header.read_text(encoding="utf-8"))


@functools.cache
def _code_sha256() -> str:
    """Of the renderer's sources, part of the protocol: a changed renderer gives other clips."""
    digest = hashlib.sha256()
    for path in sorted(pathlib.Path(puppet_stage.__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
