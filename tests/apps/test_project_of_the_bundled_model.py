"""The bundled checkpoint's projects: resumed, retaken and streamed to the sample."""

import pathlib

import numpy as np
import pytest

import dualdub_jax
from dualdub_jax.dubbing.dub import DualDub
from dualdub_jax.dubbing.project import Project
from tests.films import make_film

CUES = (
    "1\n00:00:00,500 --> 00:00:02,500\nset white with f four again\n\n"
    "2\n00:00:03,500 --> 00:00:05,300\nlay blue at e nine soon\n"
)


@pytest.fixture(scope="module")
def model() -> DualDub:
    return dualdub_jax.load()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model) -> pathlib.Path:
    """A film of two windows, its cues, and a project "whole" of them."""
    folder = tmp_path_factory.mktemp("film")
    make_film(folder / "film.mp4", num_frames=140)
    (folder / "s.srt").write_text(CUES)
    dub(model, folder, "whole")
    return folder


def dub(model: DualDub, folder: pathlib.Path, project: str, **options):
    return model.dub(
        folder / "film.mp4", folder / "s.srt", project=folder / project, rt60_s=0.3, seed=2, **options
    )


def tracks(project: Project) -> dict[str, np.ndarray]:
    return {name: np.round(track[:] * 32768) for name, track in project.tracks.items()}


@pytest.mark.slow
def test_resumed_it_is_the_uninterrupted_one(model, folder, monkeypatch):
    generate, calls = model.engine.generate, []

    def interrupted(**request):
        calls.append(request["seed"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return generate(**request)

    monkeypatch.setattr(model.engine, "generate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dub(model, folder, "p")
    made = dub(model, folder, "p", resume=True)
    assert len(calls) == len(made.project.windows) + 1
    with Project.open(folder / "whole") as whole:
        for name, samples in tracks(whole).items():
            np.testing.assert_array_equal(tracks(made.project)[name], samples)


@pytest.mark.slow
def test_a_retake_leaves_the_rest_and_has_no_edge(model, folder):
    with Project.open(folder / "whole") as project:
        old, old_tokens = tracks(project), project.take.tokens
        project.retake(model.engine, cue=2, seed=9)
        new = tracks(project)
        start_s, end_s = project.take.region_s
        first, end = round(start_s * 16_000), round(end_s * 16_000)
        for name in old:
            np.testing.assert_array_equal(new[name][:first], old[name][:first])
            np.testing.assert_array_equal(new[name][end:], old[name][end:])
            assert (new[name][first:end] != old[name][first:end]).mean() > 0.5
            # No jump between neighbouring samples is higher than in the old track.
            for edge in (first, end):
                around = slice(edge - 400, edge + 400)
                highest = np.abs(np.diff(old[name])).max()
                assert np.abs(np.diff(new[name][around])).max() <= highest
        changed = (project.take.tokens["speech"] != old_tokens["speech"]).any(axis=1)
        assert 88 <= np.flatnonzero(changed)[0] <= 90 and np.flatnonzero(changed)[-1] < 133
        # With the seed of the parent, the same tokens are sampled: nothing changes but roundings.
        project.choose(1)
        project.retake(model.engine, (3.4, 5.4), seed=2)
        for name, tokens in old_tokens.items():
            np.testing.assert_array_equal(project.take.tokens[name], tokens)


@pytest.mark.slow
def test_streamed_it_is_the_dubbed_one(model, folder):
    chunks = list(model.stream(folder / "film.mp4", folder / "s.srt", rt60_s=0.3, seed=2))
    assert len(chunks) > 4
    with Project.open(folder / "whole") as whole:
        for name in ("speech", "background"):
            streamed = np.concatenate([getattr(chunk, name) for chunk in chunks])
            difference = streamed * whole.mixdown.stem_gain - whole.tracks[name][:]
            assert np.abs(difference).max() < 4 / 32768
