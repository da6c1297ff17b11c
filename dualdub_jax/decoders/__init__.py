"""Waveform decoders that replace a codec's own decoder."""
