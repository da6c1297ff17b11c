"""Encoders of sound that evaluation uses; each is a public model."""
