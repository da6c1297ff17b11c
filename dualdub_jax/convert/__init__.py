"""Public weights to our parameter trees, name by name, never unpickling code."""
