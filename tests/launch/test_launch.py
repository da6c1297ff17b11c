"""Launch scripts cannot be run here; their syntax, and every `dualdub` line in them, can be checked."""

import pathlib
import re
import subprocess

import pytest
import yaml

from dualdub_jax.apps.arguments import parse
from dualdub_jax.config import load_config

LAUNCH = pathlib.Path(__file__).parents[2] / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
DOCS = LAUNCH.parent / "docs" / "scaling.md"


def _commands(text: str) -> list[list[str]]:
    """Arguments of every `dualdub …` in shell code; variables that have a default are replaced by it."""
    defaults = dict(re.findall(r"^(\w+)=\$\{\w+:-([^}]*)\}", text, re.MULTILINE))
    defaults |= dict(re.findall(r"^(\w+)=([\w/.]+)$", text, re.MULTILINE))
    text = text.replace("\\\n", " ")
    text = re.sub(r"\$\{?(\w+)\}?", lambda match: defaults.get(match[1], match[0]), text)
    found = []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            continue
        # Up to what ends a command; none of ours has quotes, only what it stands in.
        for match in re.finditer(r"(?<![\w-])dualdub\"? ((?:train|data) [^&|>]*)", line):
            found.append(match[1].replace('"', "").split())
    return found


def _check(argv: list[str]) -> None:
    args = parse(argv)
    if args.command == "train":
        assert "$" not in args.config
        path = LAUNCH.parent / args.config
        load_config(str(path) if path.is_file() else args.config, args.overrides)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_bash_and_their_commands_are_ours(path):
    subprocess.run(["bash", "-n", str(path)], check=True)
    commands = _commands(path.read_text(encoding="utf-8"))
    assert any(words[0] == "train" for words in commands)
    for words in commands:
        _check(words)


@pytest.mark.parametrize("name", ["tpu_slice.sh", "slurm.sbatch"])
def test_several_hosts_start_as_one_run(name):
    trains = [words for words in _commands((LAUNCH / name).read_text()) if words[0] == "train"]
    assert trains and all("--distributed" in words for words in trains)


def test_the_job_set_has_as_many_pods_as_the_slice_has_hosts():
    claim, jobs = yaml.safe_load_all((LAUNCH / "gke.yaml").read_text(encoding="utf-8"))
    (replicated,) = jobs["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    chips = container["resources"]["limits"]["google.com/tpu"]
    rows, columns = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")
    assert job["parallelism"] == job["completions"] == int(rows) * int(columns) // chips
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert container["command"] == ["dualdub"]
    args = parse(container["args"])
    assert args.distributed
    _check(container["args"])


def test_commands_in_the_documentation_are_ours():
    section = DOCS.read_text(encoding="utf-8").split("## Launching")[1].split("\n## ")[0]
    blocks = "\n".join(re.findall(r"```\n(.*?)```", section, re.DOTALL))
    commands = _commands(blocks)
    assert len(commands) >= 2
    for words in commands:
        _check(words)
    for name in re.findall(r"\(\.\./launch/([\w.]+)\)", section):
        assert (LAUNCH / name).is_file()
