"""Threads that last as long as their process: to start some for each read takes longer than many a read."""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor

__all__ = ["lasting_threads"]


@functools.cache
def lasting_threads(name: str, number: int) -> ThreadPoolExecutor:
    """Return the threads of a name that all callers in this process share."""
    if hasattr(os, "register_at_fork"):  # a process that is forked has the pool, but none of its threads
        os.register_at_fork(after_in_child=lasting_threads.cache_clear)
    return ThreadPoolExecutor(number, thread_name_prefix=name)
