"""CLIP's image tower as a frozen feature extractor."""
