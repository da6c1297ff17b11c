"""WavTokenizer: one codebook at 40 or 75 Hz for speech and general audio, from public weights."""
