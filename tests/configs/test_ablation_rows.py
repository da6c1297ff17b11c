"""The rows of `benchmarks/ablations.py` leave out what they say, and nothing else."""

import pathlib
import typing

import pytest

from dualdub_jax.bundles.bundle import abstract_params
from dualdub_jax.config import load_config
from dualdub_jax.dubbing.window_batch import Condition
from dualdub_jax.types import PARTS

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def rows():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import ablation_rows

        yield ablation_rows


@pytest.fixture(scope="module")
def base():
    return load_config(f"{ROOT}/configs/puppet.py:tiny")


def test_every_row_is_a_config_that_can_be_trained(rows, base):
    for name, row in rows.ROWS.items():
        assert set(row.absent) <= set(typing.get_args(Condition))
        for part in row.parts:
            config = rows.row_config(base, name, part, seed=3, num_steps=100)
            assert config.seed == 3
            assert sum(s.num_steps for s in config.stages) + config.video_training.num_steps == 100
            last = config.stages[-1]
            assert last.name == "soundtrack" and set(row.absent) <= set(last.drop) <= set(PARTS)
            abstract_params(config)


def test_rows_differ_in_the_parts_that_they_name(rows, base):
    def parts(name: str) -> set[str]:
        model = abstract_params(rows.row_config(base, name, "", seed=0, num_steps=100))["model"]
        return {"/".join(path) for path in _paths(model)}

    whole = parts("all")
    missing = {"/".join(path.split("/")[:2]) for path in whole - parts("no_causal")}
    assert missing == {"aligner/causal"}
    assert {path.split("/")[0] for path in whole - parts("no_script")} == {"script_aligner"}
    missing = {"/".join(path.split("/")[:2]) for path in whole - parts("no_noncausal")}
    assert missing == {"aligner/noncausal"} and parts("no_noncausal") < whole
    assert parts("no_room") == parts("no_video") == whole  # hidden, not removed
    attentions = {path.split("/")[1] for path in parts("paper") - whole}
    assert len(attentions) == 4 and parts("paper") - parts("paper_no_causal") == {
        path for path in parts("paper") if path.startswith("aligner/") and "video" not in path
    }


def test_the_papers_order_has_as_many_steps_of_each_stage(rows, base):
    ours, papers = (rows.row_config(base, name, "", 0, 100) for name in ("curriculum", "paper_order"))
    assert [stage.name for stage in papers.stages] == ["video_audio", "text_speech", "soundtrack"]
    steps = [{stage.name: stage.num_steps for stage in config.stages} for config in (ours, papers)]
    assert steps[0] == steps[1] and ours.video_training == papers.video_training
    assert len(papers.stages[0].mixture) == 1 and len(papers.stages[1].mixture) == 2
    assert papers.stages[2].mixture == ours.stages[2].mixture


def _paths(tree: dict) -> list[tuple[str, ...]]:
    if not isinstance(tree, dict):
        return [()]
    return [(name, *rest) for name, below in tree.items() for rest in _paths(below)]


def test_the_cascade_makes_each_track_with_a_model_that_does_not_know_the_other(rows, base):
    drops = {
        part: rows.row_config(base, "cascade", part, seed=0, num_steps=100).stages[-1].drop
        for part in ("speech", "background")
    }
    assert "background" in drops["speech"] and "speech" in drops["background"]
