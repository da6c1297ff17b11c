"""How many windows a device generates at once, where the user does not say."""

_ON_ACCELERATORS = 8  # weights are read once for all rows; our choice


def default_rows_per_device() -> int:
    """1 on CPUs, whose result is then exactly that of a film alone; 8 on accelerators."""
    import jax  # slow, and not needed to find faults of the inputs

    return 1 if jax.default_backend() == "cpu" else _ON_ACCELERATORS
