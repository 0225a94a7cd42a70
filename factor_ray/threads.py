"""How many threads linear algebra takes of the processor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import scipy.linalg  # noqa: F401 - only libraries that are loaded can be told
from threadpoolctl import threadpool_limits


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run the body with linear algebra on one thread, and restore the caller's setting.

    A run's own threads share the processors already; threads of OpenBLAS below them wait for each other more than they
    compute, and last bits depend on their number, which is otherwise that of the processors.
    """
    with threadpool_limits(1, user_api="blas"):
        yield
