"""Export, what a program costs on hardware that is not there, and what a codec does to a sound."""
