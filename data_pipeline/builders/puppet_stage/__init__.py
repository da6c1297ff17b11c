"""Puppet Stage: short rendered films of a talking puppet among sounding things, with true stems."""
