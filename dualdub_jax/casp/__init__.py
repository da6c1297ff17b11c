"""CASP: do this speech and this background belong to one scene? BEATs, the model on it, and its scores."""
