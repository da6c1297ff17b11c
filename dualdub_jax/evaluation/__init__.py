"""Evaluates soundtracks of our checkpoints, of other systems and of the ground truth: docs/evaluation.md."""
