"""The Oobleck autoencoder of Stable Audio: waveforms to continuous latents and back."""
