"""How many threads linear algebra takes of the processor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import scipy.linalg  # noqa: F401 - only libraries that are loaded can be told
from threadpoolctl import ThreadpoolController

_LIBRARIES = ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run the body with linear algebra on one thread, and restore the caller's setting.

    A run's own threads share the processors already; NumPy and SciPy each bring a library with threads of its own,
    which wait for each other more than they compute. Last bits depend on their number, which is otherwise that of the
    processors. The number is the process's: of threads that ask for it at once the first decides how long it holds.
    """
    with _LIBRARIES.limit(limits=1, user_api="blas"):
        yield
