"""Conversion of public weights to our parameter trees, name by name, without unpickling code."""
