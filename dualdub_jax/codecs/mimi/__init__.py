"""Mimi: a causal residual codec for speech at 12.5 frames a second, from public weights."""
