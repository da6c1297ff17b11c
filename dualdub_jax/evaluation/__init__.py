"""Measures soundtracks: of our checkpoints, of other systems, of the truth. See docs/evaluation.md."""
