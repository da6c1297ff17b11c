"""DAC: a residual codec of several codebooks for speech and general audio, from public weights."""
