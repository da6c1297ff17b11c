"""Scores from other processes are those of one, failures too; what ends a process names its clip."""

import contextlib
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.registry import METRICS, all_metrics
from dualdub_jax.evaluation.metrics.duration import Duration
from dualdub_jax.evaluation.metrics.loudness import Loudness
from dualdub_jax.evaluation.run.runner import evaluate
from dualdub_jax.evaluation.run.workers import CLIPS_PER_PROCESS, Task, default_jobs, score_in_processes
from tests.evaluation.run.process_metrics import Deadly, Refuses, Threads, WithJax
from tests.evaluation.toy import Absent, Level, NeedsWorld, ToySuite


def metrics():
    return [Level(fails_on=["clip-3"]), Absent(), NeedsWorld(), Refuses(), Duration(), Loudness()]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return evaluate(ToySuite(9), metrics(), tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("jobs", [2, 3])
def test_results_are_those_of_one_process(alone, tmp_path, jobs):
    together = evaluate(ToySuite(9), metrics(), tmp_path, jobs=jobs)
    assert together == alone | {"workdir": together["workdir"]}
    assert {f["id"] for f in together["failures"] if f["stage"] == "score level"} == {"clip-3"}
    assert together["metrics"]["refused"]["missing"] == "fails on every clip: Unspeakable: out of order"
    log = (tmp_path / "errors.log").read_text()
    assert "cannot score clip-3" in log and "Traceback" in log


def test_a_rerun_starts_no_process(alone, tmp_path):
    evaluate(ToySuite(4), [Level()], tmp_path, jobs=2)
    metric = Deadly("clip-1", "ends")
    metric.name, metric.figures = Level.name, Level.figures  # the same scores: all of them are known
    results = evaluate(ToySuite(4), [metric], tmp_path, jobs=2)
    assert results["failures"] == [] and results["metrics"]["level_error"]["n"] == 4


@pytest.mark.parametrize(
    ("way", "cause"),
    [
        (
            "killed",
            "the process that scored clip clip-2 was killed by signal 9, most likely for",
        ),
        ("ends", "the process that scored clip clip-2 ended with status 3"),
        ("exits", "clip clip-2 ended its process \\(SystemExit: \\)"),
    ],
)
def test_a_process_that_ends_names_its_clip(tmp_path, way, cause):
    with pytest.raises(UserError, match=f"^--jobs 2: {cause}") as caught:
        evaluate(ToySuite(4), [Level(), Deadly("clip-2", way)], tmp_path, jobs=2)
    assert "\n" not in str(caught.value)
    assert _children() == set()


def test_what_cannot_be_sent_is_refused(tmp_path):
    class Local(Level):
        pass

    with pytest.raises(UserError, match=r"--jobs 2: the metrics cannot be sent .*; use --jobs 1"):
        evaluate(ToySuite(4), [Local()], tmp_path, jobs=2)
    clip = Clip("film", 16_000, load_frames=lambda: np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(UserError, match=r"--jobs 1: clip film cannot be sent .*; use --jobs 1"):
        list(score_in_processes([Duration()], [Task("film", {"ours": clip}, [("duration", "ours")])], 1))
    assert _children() == set()


def test_processes_share_the_cores_and_leave_jax_to_the_command(tmp_path, monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    tasks = [Task(f"c{i}", {"ours": Clip(f"c{i}", 16_000)}, [("threads", "ours")]) for i in range(6)]
    found = [scored.outcomes["threads", "ours"] for scored in score_in_processes([Threads()], tasks, 2)]
    assert len({float(values["process_id"]) for values in found}) == 2
    cores = len(os.sched_getaffinity(0))
    assert {(int(v["threads"]), bool(v["has_jax"])) for v in found} == {(max(1, cores // 2), False)}
    assert "OMP_NUM_THREADS" not in os.environ
    values = evaluate(ToySuite(4), [WithJax(), Level()], tmp_path, jobs=2)["metrics"]["process_id"]
    assert values["value"] == os.getpid()


def test_metrics_that_claim_to_do_without_jax_import_none():
    modules = [m.__class__.__module__ for m in all_metrics() if not m.uses_jax]
    assert len(modules) == len(METRICS) - 1
    code = (
        f"import importlib, sys; [importlib.import_module(m) for m in {modules}]; print('jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "False\n"


_COMMAND = """
import pathlib, signal, sys
from dualdub_jax.apps.cli import main
from dualdub_jax.evaluation.contracts import registry
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below a shell's background job
from tests.evaluation.run.process_metrics import Endless
registry.all_metrics = lambda casp_weights: [Endless(pathlib.Path("begun"))]
sys.exit(main(["evaluate", "--pairs", "pairs.jsonl", "--jobs", "2"]))
"""


def test_ctrl_c_leaves_no_process(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000, np.float32), 16_000)
    (tmp_path / "pairs.jsonl").write_text("".join(f'{{"id": "{i}", "speech": "a.wav"}}\n' for i in range(4)))
    begun = tmp_path / "begun"
    begun.mkdir()
    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[3])}
    command = subprocess.Popen(
        [sys.executable, "-c", _COMMAND], cwd=tmp_path, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # fmt: skip
    try:
        until = time.monotonic() + 120
        while len(list(begun.iterdir())) < 2 and time.monotonic() < until and command.poll() is None:
            time.sleep(0.05)
        assert len(list(begun.iterdir())) == 2
        os.killpg(command.pid, signal.SIGINT)  # as a terminal sends it: to all
        assert command.communicate(timeout=60)[1] == "dualdub: interrupted\n"
        assert command.returncode == 130
        until = time.monotonic() + 20  # the system ends them a moment after the command
        while (
            left := [path.name for path in begun.iterdir() if _runs(path.name)]
        ) and time.monotonic() < until:
            time.sleep(0.05)
        assert not left
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(command.pid, signal.SIGKILL)


def test_few_clips_are_scored_by_one_process():
    assert default_jobs(CLIPS_PER_PROCESS) == 1
    assert 1 <= default_jobs(10_000) <= len(os.sched_getaffinity(0))


def _runs(pid: str) -> bool:
    """Whether a process is there and no zombie that waits for its parent."""
    try:
        return pathlib.Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _children() -> set[int]:
    """Processes of this one that still score."""
    return {process.pid for process in multiprocessing.active_children()}
