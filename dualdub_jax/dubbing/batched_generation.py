"""Generation of windows of several films at once, with the batch sharded over the mesh's data axis.

Each device generates the same number of rows, whatever the number of requests: missing ones are padded. A
row's arithmetic then depends on that number alone, and not on the other rows, so that a film has the same
tokens in any company (tests/dubbing/test_batched_generation.py). Every row has its own key, context and
steering. Rows of different sampling settings, with and without steering, are different programs and go in
separate calls.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dualdub_jax.config import MeshConfig, SamplingConfig
from dualdub_jax.dubbing.generation import Steering, generate_tokens
from dualdub_jax.dubbing.sampling import StreamSampling, stream_sampling
from dualdub_jax.models.dualdub import DualDub
from dualdub_jax.parallel.mesh import make_mesh
from dualdub_jax.types import STREAMS, Batch, Stream

PyTree = Any  # the model's parameters: nested dictionaries of arrays
_DATA = "data"


class WindowRow(NamedTuple):
    """What differs from window to window; stacked, the first axis of all leaves is that of the rows.

    Attributes:
        batch: of one example.
        num_context: int32[].
        key: of sampling, in its raw form uint32[2], which can be stacked on the host.
        steering: None: the model chooses.
    """

    batch: Batch
    num_context: np.ndarray
    key: np.ndarray
    steering: Steering | None


class SharedSampling(NamedTuple):
    """What all rows of a call share.

    Attributes:
        streams: sampling settings by stream.
        guidance_scale: float32[]; None: no guidance.
        guidance_codebooks: int32[].
    """

    streams: dict[Stream, StreamSampling]
    guidance_scale: jax.Array | None
    guidance_codebooks: jax.Array


@dataclasses.dataclass(frozen=True)
class WindowInputs:
    """The model's inputs of one window.

    Attributes:
        rows: a single row.
        settings: of the sampler; together with the presence of steering, they tell which windows can share
            a call.
        num_frames: of the window, without padding.
        used: the streams that are generated.
    """

    rows: WindowRow
    settings: SamplingConfig
    num_frames: int
    used: tuple[Stream, ...]

    @classmethod
    def make(
        cls,
        batch: Batch,
        num_context: int,
        seed: int,
        settings: SamplingConfig,
        steering: Steering | None,
        num_frames: int,
        used: tuple[Stream, ...],
    ) -> "WindowInputs":
        """From the values of one window; the key of sampling is that of `seed`."""
        key = np.asarray(jax.random.key_data(jax.random.key(seed)))
        return cls(WindowRow(batch, np.int32(num_context), key, steering), settings, num_frames, used)

    @property
    def sampling(self) -> SharedSampling:
        """The settings as arrays, so that new values do not recompile."""
        scale = self.settings.guidance_scale
        return SharedSampling(
            stream_sampling(self.settings),
            None if scale == 1.0 else jnp.float32(scale),
            jnp.int32(self.settings.guidance_codebooks),
        )

    @property
    def program(self) -> tuple[SamplingConfig, bool]:
        """Windows with equal programs can share a call."""
        return self.settings, self.rows.steering is None

    def used_tokens(self, tokens: dict[Stream, Any]) -> dict[Stream, np.ndarray]:
        """Of the model's tokens [1, T, Q] by stream, those of the window: int32[num_frames, Q]."""
        return {stream: np.asarray(tokens[stream])[0, : self.num_frames] for stream in self.used}


def generate_window(
    model: DualDub, params: PyTree, row: WindowRow, sampling: SharedSampling
) -> dict[Stream, jax.Array]:
    """Generates the tokens of one window, int32[1, T, Q] by stream; to be jitted with `model` static."""
    return generate_tokens(
        model,
        params,
        row.batch,
        row.num_context,
        jax.random.wrap_key_data(row.key),
        sampling.streams,
        sampling.guidance_scale,
        sampling.guidance_codebooks,
        row.steering,
    )


class BatchedGeneration:
    """Generates windows in batches of `num_rows`.

    Attributes:
        num_rows: rows of a batch on all devices.
    """

    def __init__(self, model: DualDub, params: PyTree, rows_per_device: int, mesh: Mesh | None = None):
        """Replicates the parameters over the devices, unless they are sharded already.

        Args:
            model: the module.
            params: its parameters.
            rows_per_device: rows of a batch on each device (on each part of the data axis of `mesh`).
            mesh: over which `params` are sharded; None: all devices of this process, one data axis.
        """
        if mesh is None:
            mesh = make_mesh(MeshConfig(data=-1), jax.local_devices())
            params = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
        self._params = params
        self._rows_sharding = NamedSharding(mesh, PartitionSpec(_DATA))
        self.num_rows = rows_per_device * mesh.shape[_DATA]
        local = functools.partial(_generate_local, model, rows_per_device)
        rows, replicated = PartitionSpec(_DATA), PartitionSpec()
        self._generate = jax.jit(
            jax.shard_map(
                local,
                mesh=mesh,
                in_specs=(replicated, rows, replicated),
                out_specs=rows,
                axis_names={_DATA},
                check_vma=False,
            )
        )

    def generate(self, windows: Sequence[WindowInputs]) -> list[dict[Stream, np.ndarray]]:
        """Generates windows, at most `num_rows`; returns int32[T, Q] by used stream of each, in order."""
        programs: dict[tuple[SamplingConfig, bool], list[int]] = {}
        for index, window in enumerate(windows):
            programs.setdefault(window.program, []).append(index)
        made: list[dict[Stream, np.ndarray]] = [{} for _ in windows]
        for indices in programs.values():
            chosen = [windows[index] for index in indices]
            padded = [window.rows for window in chosen] + [chosen[0].rows] * (self.num_rows - len(chosen))
            rows = jax.tree.map(lambda *leaves: np.stack(leaves), *padded)
            tokens = self._generate(
                self._params, jax.device_put(rows, self._rows_sharding), chosen[0].sampling
            )
            tokens = jax.tree.map(np.asarray, tokens)
            for row, index in enumerate(indices):
                made[index] = windows[index].used_tokens({name: tokens[name][row] for name in STREAMS})
        return made


def _generate_local(
    model: DualDub, num_rows: int, params: PyTree, rows: WindowRow, sampling: SharedSampling
) -> dict[Stream, jax.Array]:
    """Generates the rows of one device: leaves [num_rows, ...] -> int32[num_rows, 1, T, Q] by stream."""
    if num_rows > 1:
        return jax.vmap(generate_window, in_axes=(None, None, 0, None))(model, params, rows, sampling)
    # One row is the program of one film, whose arithmetic `vmap` would change in the last bits.
    tokens = generate_window(model, params, jax.tree.map(lambda x: x[0], rows), sampling)
    return jax.tree.map(lambda x: x[None], tokens)
