"""Puppet Stage as a TFDS dataset: one builder config per curriculum stage, written as ArrayRecord.

builder = PuppetStage(config="soundtrack", data_dir="data", num_processes=2)
builder.download_and_prepare()
source = builder.as_data_source("train")     # random access, no TensorFlow
"""

import contextlib
import dataclasses
import functools
import multiprocessing
import multiprocessing.pool
import os
import resource
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from data_pipeline.builders.puppet_stage import clip, voices
from data_pipeline.record import record_features


@dataclasses.dataclass(kw_only=True)
class PuppetStageConfig(tfds.core.BuilderConfig):
    """A curriculum stage's data.

    Attributes:
        num_clips: split -> number of clips, unless the builder is told otherwise.
    """

    num_clips: Mapping[str, int] = dataclasses.field(default_factory=dict)


class PuppetStage(tfds.core.GeneratorBasedBuilder):
    """Short films of a talking puppet among sounding things, rendered, with true stems."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {"2.0.0": "Records of the present schema; the same films and sounds."}  # noqa: RUF012 (the name and the form are TFDS's)
    BUILDER_CONFIGS = [  # noqa: RUF012
        PuppetStageConfig(
            name="text_speech",
            description="Script, voice and speech stem; no video.",
            num_clips={"train": 9000, "validation": 64},
        ),
        PuppetStageConfig(
            name="video_audio",
            description="Video and background stem; nobody speaks.",
            num_clips={"train": 2500, "validation": 64},
        ),
        PuppetStageConfig(
            name="soundtrack",
            description="Video, script, voice and both stems; one clip in eight has an empty script.",
            num_clips={"train": 10_000, "validation": 64, "test_seen": 128, "test_unseen": 128},
        ),
    ]

    def __init__(
        self,
        *,
        seed: int = 0,
        num_clips: Mapping[str, int] | None = None,
        voice_bank: str = "hibari",
        num_processes: int = 1,
        on_clip: Callable[[], None] | None = None,
        **kwargs: Any,
    ) -> None:
        """Prepares to build; `kwargs` are those of TFDS (`config`, `data_dir`, …).

        Args:
            seed: of the dataset; the same seed gives the same bytes, whatever `num_processes` is.
            num_clips: split -> number of clips, over the config's own numbers.
            voice_bank: see `voices.bank`.
            num_processes: that render clips at the same time.
            on_clip: called after each clip that was rendered, for a progress bar.
        """
        kwargs.setdefault("file_format", "array_record")
        self._seed = seed
        self._voice_bank = voice_bank
        self._num_processes = num_processes
        self._pool: multiprocessing.pool.Pool | None = None  # lives during a build
        self.on_clip = on_clip
        self._num_clips = num_clips or {}
        super().__init__(**kwargs)

    @property
    def num_clips(self) -> dict[str, int]:
        """Split -> number of clips that a build makes; empty splits are left out."""
        numbers = {**self.builder_config.num_clips}
        numbers |= {split: n for split, n in self._num_clips.items() if split in numbers}
        return {split: n for split, n in numbers.items() if n > 0}

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the bytes of a build; written into the dataset's metadata."""
        return {"seed": self._seed, "voice_bank": self._voice_bank, "num_clips": self.num_clips}

    def download_and_prepare(self, **kwargs: Any) -> None:
        """Builds what is not there yet, as TFDS does, into files that are the same bytes every time."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(_stable_serialisation())
            stack.enter_context(_plain_bucket_files())
            if self._num_processes > 1:
                # Spawned, because the parent may hold threads of JAX or of a progress bar.
                context = multiprocessing.get_context("spawn")
                self._pool = stack.enter_context(context.Pool(self._num_processes))
                stack.callback(setattr, self, "_pool", None)
            super().download_and_prepare(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__ or "",
            features=record_features(),
            metadata=tfds.core.MetadataDict(recipe=self.recipe),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # nothing is downloaded
        return {split: self._generate_examples(split, n) for split, n in self.num_clips.items()}

    def _generate_examples(self, split: str, num_clips: int) -> Iterator[tuple[str, dict[str, Any]]]:
        render = functools.partial(_render, self._voice_bank, self.builder_config.name, self._seed, split)
        indices = range(num_clips)
        # Order is kept, so the files do not depend on who was faster.
        records = self._pool.imap(render, indices, chunksize=4) if self._pool else map(render, indices)
        yield from self._counted(records)

    def _counted(self, records: Iterator[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
        for record in records:
            yield record["id"], record
            if self.on_clip is not None:
                self.on_clip()


@contextlib.contextmanager
def _stable_serialisation() -> Iterator[None]:
    """While open, TFDS writes the fields of a record in a fixed order.

    A record is a protocol buffer with a map, whose order is otherwise that of a hash with a new seed in
    every process; TFDS has no setting for it.
    """
    original = ExampleSerializer.serialize_example

    def serialize_example(self: ExampleSerializer, example: dict[str, Any]) -> bytes:
        return self.get_tf_example(example).SerializeToString(deterministic=True)

    ExampleSerializer.serialize_example = serialize_example
    try:
        yield
    finally:
        ExampleSerializer.serialize_example = original


@contextlib.contextmanager
def _plain_bucket_files() -> Iterator[None]:
    """While open, TFDS shuffles splits of more than 1 GB through plain files.

    It keeps such a split in a thousand temporary files, which it opens through TensorFlow; it has no setting
    for that, and nothing else of a build needs TensorFlow.
    """
    original = shuffle.tf
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = types.SimpleNamespace(GFile=open, exists=os.path.exists, remove=os.remove)
    # TFDS asks for more open files only after TensorFlow's own error; here they are asked for beforehand.
    errors = types.SimpleNamespace(ResourceExhaustedError=())
    shuffle.tf = types.SimpleNamespace(io=types.SimpleNamespace(gfile=files), errors=errors)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    try:
        yield
    finally:
        shuffle.tf = original
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def check_voice_bank(name: str) -> None:
    """Loads a voice bank here and now, so that a missing package is known before any work is done.

    Raises:
        UserError: no such bank, or its package is missing.
    """
    voices.bank(name)


def _render(voice_bank: str, task: clip.Task, seed: int, split: str, index: int) -> dict[str, Any]:
    return clip.to_record(clip.make_clip(voice_bank, task, seed, split, index))
