"""Tools around training that need no data: what a program costs on hardware that is not there."""
