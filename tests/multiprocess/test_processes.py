"""Two processes of four devices each: the same losses as one of eight, through deaths and other meshes.

Their batches have two lengths, which both processes must take at the same step.
"""

import json
import shutil
import signal
import socket
from types import MappingProxyType

import numpy as np
import pytest

from dualdub_jax.training.checkpoint import newest_step
from tests import programs

pytestmark = pytest.mark.slow

PROGRAM = "tests.multiprocess.train_program"
SAVING = {
    "config": {"checkpoint": {"save_every_steps": 2, "keep_last": 2}, "held_out": {"every_steps": 3}},
    "mesh": {"data": 2, "fsdp": -1},
    "held_out": True,
    "buckets": [5],
}
# Seconds in which a process must notice that another one has died; the issue asks for a minute.
LIMIT_S = 60


def free_address():
    """HOST:PORT on which no process listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def start_both(workdir, options, of_second=MappingProxyType({})):
    """Two processes on two meshes of four devices."""
    address = free_address()
    return [
        programs.start(
            PROGRAM,
            [str(workdir), json.dumps({**options, "cluster": [address, 2, i], **(of_second if i else {})})],
            num_devices=4,
        )
        for i in range(2)
    ]


def finish(processes, timeout_s=900):
    """Exit statuses and outputs."""
    try:
        outputs = [process.communicate(timeout=timeout_s)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], outputs


def wait_for(process, line):
    """Reads a process's output up to a line."""
    seen = []
    for text in process.stdout:
        seen.append(text)
        if text.strip() == line:
            return
    raise AssertionError(f"no {line!r} in:\n{''.join(seen)}")


def losses(workdir):
    return read(workdir, "loss")


def held_out_losses(workdir):
    return read(workdir, "eval/loss")


def read(workdir, name):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line[name] for line in lines if name in line}


@pytest.fixture(scope="module")
def whole_workdir(tmp_path_factory):
    """A run of seven steps of two processes, not interrupted."""
    workdir = tmp_path_factory.mktemp("whole")
    statuses, outputs = finish(start_both(workdir, SAVING | {"num_steps": 7}))
    assert statuses == [0, 0], "\n".join(outputs)
    digests = {output.splitlines()[-1] for output in outputs}
    assert len(digests) == 1 and "done" in digests.pop()
    return workdir


def test_each_length_is_compiled_once(whole_workdir):
    compile_s = read(whole_workdir, "compile_s")
    assert len(compile_s) == 2 and max(compile_s) < 7


@pytest.fixture(scope="module")
def whole(whole_workdir):
    """Its losses."""
    return losses(whole_workdir)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run whose second process is killed; how the first one ends is looked at."""
    workdir = tmp_path_factory.mktemp("killed")
    first, second = start_both(workdir, SAVING | {"num_steps": 7})
    wait_for(second, "batch 5")
    second.send_signal(signal.SIGKILL)
    statuses, outputs = finish([first, second], LIMIT_S)
    assert statuses[0] not in (0, None), outputs[0]
    assert says_that_another_died(outputs[0])
    # The save of step 4 may have been under way; that of step 2 is waited for before it begins.
    assert newest_step(workdir / "stage") in (2, 4)
    return workdir


def says_that_another_died(output):
    """Either our line, or that of JAX's runtime, which notices missing heartbeats and aborts."""
    return "another process has died" in output or "another task died" in output


def first_batch(output):
    return next(int(line.split()[1]) for line in output.splitlines() if line.startswith("batch "))


def test_a_death_is_noticed_and_the_same_two_go_on_with_the_same_losses(whole, killed, tmp_path):
    workdir = tmp_path / "again"
    shutil.copytree(killed, workdir)
    statuses, outputs = finish(start_both(workdir, SAVING | {"num_steps": 7}))
    assert statuses == [0, 0], "\n".join(outputs)
    assert {first_batch(output) for output in outputs} == {newest_step(killed / "stage")}
    assert losses(workdir) == whole


def test_one_process_of_eight_devices_goes_on_from_it(whole, whole_workdir, killed, tmp_path):
    workdir = tmp_path / "alone"
    shutil.copytree(killed, workdir)
    output = programs.run(
        PROGRAM, [str(workdir), json.dumps(SAVING | {"num_steps": 7})], num_devices=8, timeout_s=900
    )
    assert first_batch(output) == newest_step(killed / "stage")
    alone = losses(workdir)
    np.testing.assert_allclose([alone[k] for k in range(1, 8)], [whole[k] for k in range(1, 8)], rtol=2e-5)
    held_out, of_two = held_out_losses(workdir), held_out_losses(whole_workdir)
    assert list(held_out) == list(of_two) == [3, 6, 7]
    np.testing.assert_allclose(list(held_out.values()), list(of_two.values()), rtol=2e-5)


def test_an_exception_in_one_process_ends_both(tmp_path):
    statuses, outputs = finish(start_both(tmp_path, SAVING | {"num_steps": 7}, {"fails_at": 0}))
    assert 0 not in statuses
    assert "this process has lost its data" in outputs[1]
    assert says_that_another_died(outputs[0])


def test_sigterm_to_one_process_stops_both_after_the_same_step_and_saves(whole, tmp_path):
    first, second = start_both(tmp_path, SAVING | {"num_steps": 7, "step_s": 0.2})
    wait_for(second, "batch 2")
    second.send_signal(signal.SIGTERM)
    statuses, outputs = finish([first, second])
    assert statuses == [130, 130], "\n".join(outputs)
    stopped_at = max(losses(tmp_path))
    assert 3 <= stopped_at < 7
    assert (tmp_path / "stage" / str(stopped_at)).is_dir()
    assert {step: whole[step] for step in losses(tmp_path)} == losses(tmp_path)


def test_each_process_finds_its_programs_when_it_is_started_again(tmp_path):
    own = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    found = []
    for _ in range(2):
        address = free_address()
        processes = [
            programs.start("tests.multiprocess.cache_program", [json.dumps([address, 2, i])], environment=own)
            for i in range(2)
        ]
        statuses, outputs = finish(processes, timeout_s=120)
        assert statuses == [0, 0], "\n".join(outputs)
        found.append([output.splitlines()[-1] for output in outputs])
    assert found == [["hits 0", "hits 0"], ["hits 1", "hits 1"]]
