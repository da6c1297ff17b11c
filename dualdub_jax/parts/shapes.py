"""Run-time checks of shapes and dtypes at public functions, enabled in tests.

Public functions annotate arrays with jaxtyping, such as `Float[Array, "B T D"]`; the axis letters are those
of dualdub_jax/types.py. Within one call, an axis letter has one size:

    "B T D"      three axes            "*batch S"    any leading axes, then S
    "#B T S"     B may be 1            " T"          one axis (the space keeps linters from resolving a name)
    "B _"        any size              "T {n_mels}"  the size is the value of an argument
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import jaxtyping

CHECK_SHAPES_VARIABLE = "DUALDUB_CHECK_SHAPES"
Function = TypeVar("Function", bound=Callable[..., Any])


def checked(function: Function) -> Function:
    """Checks arguments and result of a function against its annotations, if checks are enabled.

    Checks are enabled if the environment variable DUALDUB_CHECK_SHAPES is set, and not empty, when the module
    of the function is imported; tests/conftest.py sets it. They run while JAX traces and do not change the
    program. A violation raises `jaxtyping.TypeCheckError`, which names the argument, the array and the
    annotation. On a linen method, this decorator is below `nn.compact`.

    Args:
        function: with jaxtyping annotations.

    Returns:
        The function itself without checks; they need beartype, a development dependency.
    """
    if not os.environ.get(CHECK_SHAPES_VARIABLE):
        return function
    import beartype

    return jaxtyping.jaxtyped(function, typechecker=beartype.beartype)
