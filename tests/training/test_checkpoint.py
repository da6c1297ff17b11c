"""Checkpoints that are damaged, interrupted, too many, or too big for the disk."""

import json
import resource

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.config import CheckpointConfig
from dualdub_jax.errors import UserError
from dualdub_jax.training.checkpoint import PhaseCheckpoints, newest_step
from dualdub_jax.training.fingerprint import differing, fingerprint


def _state(step):
    """Noise, so that it does not shrink when it is packed; some numbers of each kind."""
    rng = np.random.default_rng(step)
    return {
        "step": jnp.int32(step),
        "big": jnp.asarray(rng.normal(size=(64, 512)), jnp.float32),
        "half": jnp.asarray(rng.normal(size=(16,)), jnp.bfloat16),
        "is_on": jnp.asarray([True, False]),
    }


def _write(directory, steps, **config):
    checkpoints = PhaseCheckpoints(directory, CheckpointConfig(**config))
    for step in steps:
        checkpoints.save(step, _state(step), {"data": {"next": step}})
    checkpoints.close()


def _target():
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), _state(0))


def _restore(directory):
    return PhaseCheckpoints(directory, CheckpointConfig()).restore(_target())


def _largest(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def _truncate(folder):
    path = _largest(folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip_a_bit(folder):
    path = _largest(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _empty_everything(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")


def _half_the_json(folder):
    path = folder / "meta" / "metadata"
    path.write_text(path.read_text()[:20])


def _remove_files(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()


DAMAGES = [_truncate, _flip_a_bit, _empty_everything, _half_the_json, _remove_files]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_is_named_and_the_one_before_is_taken(tmp_path, capsys, damage):
    _write(tmp_path, [3, 6])
    damage(tmp_path / "6")
    restored = _restore(tmp_path)
    assert restored.step == 3 and restored.meta["data"] == {"next": 3}
    jax.tree.map(np.testing.assert_array_equal, restored.state, _state(3))
    said = capsys.readouterr().out
    assert f"{tmp_path / '6'}: this checkpoint cannot be read" in said and "6.unreadable" in said
    # The run comes to the same step again, and can save it.
    _write(tmp_path, [6])
    assert _restore(tmp_path).step == 6


def test_nothing_readable_is_an_error_and_not_a_new_beginning(tmp_path):
    _write(tmp_path, [3, 6])
    for step in (3, 6):
        _remove_files(tmp_path / str(step))
    with pytest.raises(UserError, match="none of its 2 checkpoints can be read; move the folder away"):
        _restore(tmp_path)


def test_a_half_written_folder_is_passed_over_and_removed_by_the_next_save(tmp_path):
    _write(tmp_path, [3])
    half = tmp_path / "6.orbax-checkpoint-tmp"
    (half / "state").mkdir(parents=True)
    assert newest_step(tmp_path) == 3 and _restore(tmp_path).step == 3
    _write(tmp_path, [9])
    assert not half.exists()


def test_the_last_and_every_so_many_are_kept(tmp_path):
    _write(tmp_path, range(1, 10), keep_last=2, keep_every_steps=4)
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [4, 8, 9]


def test_a_background_save_keeps_what_it_was_given_when_the_state_is_donated(tmp_path):
    step_fn = jax.jit(lambda state: jax.tree.map(lambda x: x + x, state), donate_argnums=0)
    state = {"big": jnp.ones((512, 512)), "step": jnp.int32(1)}
    checkpoints = PhaseCheckpoints(tmp_path, CheckpointConfig(use_async=True))
    for step in range(1, 4):
        checkpoints.save(step, state, {})
        for _ in range(8):
            state = step_fn(state)
    checkpoints.close()
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), state)
    restored = PhaseCheckpoints(tmp_path, CheckpointConfig()).restore(target)
    assert restored.step == 3
    np.testing.assert_array_equal(restored.state["big"], 2.0**16)


@pytest.mark.parametrize("use_async", [True, False])
def test_a_full_disk_is_named_and_the_last_good_one_stays(tmp_path, use_async):
    _write(tmp_path, [3])
    checkpoints = PhaseCheckpoints(tmp_path, CheckpointConfig(use_async=use_async))
    # No file may grow beyond this: to whoever writes, the same as a disk that takes no more.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (32_768, before[1]))
    try:
        with pytest.raises(UserError, match=r"the disk is full; the checkpoint of step 3 is complete; free"):
            checkpoints.save(6, _state(6), {})
            checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        checkpoints.abandon()
    assert _restore(tmp_path).step == 3
    _write(tmp_path, [6])
    assert _restore(tmp_path).step == 6


def test_a_fingerprint_detects_changed_and_moved_values_and_survives_json():
    state = _state(1)
    saved = json.loads(json.dumps(fingerprint(state)))
    assert differing(saved, state) == []
    assert differing(saved, state | {"big": state["big"].at[3, 5].add(1e-6)}) == ["big"]
    assert differing(saved, state | {"half": state["half"][::-1]}) == ["half"]
    assert differing(saved, state | {"is_on": ~state["is_on"]}) == ["is_on"]
