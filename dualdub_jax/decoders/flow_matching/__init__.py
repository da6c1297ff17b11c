"""The waveform decoder kind "flow_matching": tokens to latents by flow matching, then a frozen decoder."""
