"""Compiled loops: for what runs hundreds of thousands of times on arrays too small for NumPy's calls to pay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


def compiled(function: AnyFunction) -> AnyFunction:
    """Compile a function of numbers and arrays on its first call; the machine code is kept on disk where that can be.

    It runs without the interpreter's lock, so that threads share the processors. Sums keep their order (no fast-math):
    the same numbers give the same bits. Division by zero gives infinity or NaN, as in NumPy. A compiled function may
    call others of its own file alone: kept code is made again when its file changes, and at no other time.
    """
    try:
        return cast(AnyFunction, njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError:  # neither the source's directory nor the user's own can be written: every process compiles
        return cast(AnyFunction, njit(nogil=True, error_model="numpy")(function))


def load_compiler() -> None:
    """Load what the first call of any compiled function needs; it takes a quarter of a second."""
    _nothing()


@compiled
def _nothing() -> None:
    return
