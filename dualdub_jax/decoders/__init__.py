"""Waveform decoders that take the place of a codec's own decoder."""
