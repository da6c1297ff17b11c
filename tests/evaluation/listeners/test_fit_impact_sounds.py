"""The script behind the classifier's coefficients: labels of candidates, and the fit itself."""

import numpy as np

from dualdub_jax.evaluation.listeners import fit_impact_sounds, impact_sounds
from tests.evaluation.puppet_clips import puppet_clip


def test_candidates_are_labelled_by_their_contacts():
    clip = puppet_clip(0, bank_name="tone")
    found = list(fit_impact_sounds.examples(clip.background, clip.world["contacts"]))
    labels = [label for _, label in found]
    for kind in {contact["class"] for contact in clip.world["contacts"]}:
        index = impact_sounds.CLASSES.index(kind)
        expected = sum(contact["class"] == kind for contact in clip.world["contacts"])
        assert 0 < labels.count(index) <= expected
    assert all(row.shape == (400,) and np.isfinite(row).all() for row, _ in found)
    assert {label for _, label in fit_impact_sounds.examples(clip.background, [])} == {6}


def test_fit_separates_what_can_be_separated():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 400)
    rows = 0.1 * rng.standard_normal((400, 9)) + np.eye(9)[labels]
    weights, biases = fit_impact_sounds.fit(rows, labels)
    assert weights.shape == (9, 7)
    assert ((rows @ weights + biases).argmax(axis=1) == labels).all()


def test_spoiled_tracks_keep_their_length():
    samples = np.sin(np.arange(5000) / 3)
    for seed in range(6):
        augmented = fit_impact_sounds.augmented(samples, np.random.default_rng(seed))
        assert augmented.shape == samples.shape
        assert not np.allclose(augmented, samples)
