"""What a fit asks of the processor: one thread, and memory that is kept between steps."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_MMAP_THRESHOLD = 32 * 2**20  # glibc refuses more


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the body on one torch thread and restore the caller's setting.

    Sums of several threads depend on their number; with one, a fit gives the same bits on every machine of a
    kind. Parallelism comes from fitting in several processes.
    """
    keep_freed_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def without_onednn() -> Iterator[None]:
    """Run the body without oneDNN and restore the caller's setting.

    Its GELU takes ten microseconds a call before it computes anything: half the time of a layer at batch 1, nothing at
    batch 5,000, where it is the faster one.
    """
    (before, *_) = torch.backends.mkldnn.set_flags(_enabled=False)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(_enabled=before)  # type: ignore[no-untyped-call]


@cache
def keep_freed_memory() -> bool:
    """Tell glibc's malloc to keep freed memory instead of returning it to the system after every step.

    Activations are allocated and freed at every step; above 128 KiB malloc would map and unmap them each time, and
    the page faults cost more than the arithmetic. The setting is the process's and is made once.

    Returns
    -------
    bool
        Whether the setting was made; False where malloc is not glibc's.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    kept = mallopt(_M_TRIM_THRESHOLD, 2**31 - 1) and mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    return bool(kept)
