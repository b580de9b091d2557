"""Crashes at a chosen step of a store's writing, damage to a file, and what a store consists of."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from zarr.storage import LocalStore, MemoryStore

from rs_embed_dask.store.target import GUARD

STORES = (LocalStore, MemoryStore)
WRITES = ("set", "delete", "delete_dir")


class CrashedError(BaseException):
    """The process died here. No Exception, so that nothing may handle it."""


@contextlib.contextmanager
def crash_at(step):
    """Let ``step`` operations that change the store pass, and none after; yields the operations that passed."""
    passed = []

    def guarded(kind, name):
        real = getattr(kind, name)

        async def operation(self, key, *args, **kwargs):
            if len(passed) >= step:
                raise CrashedError(key)
            passed.append(f"{name} {key}")
            return await real(self, key, *args, **kwargs)

        return operation

    with pytest.MonkeyPatch.context() as patch:
        for kind, name in itertools.product(STORES, WRITES):
            patch.setattr(kind, name, guarded(kind, name))
        yield passed


def crashes(action, *, stride=1):
    """Run an action again and again, each time with one step (or `stride`) more before the crash, until its end.

    Yields the number of the step after each crash.
    """
    for step in range(0, 1000, stride):
        try:
            with crash_at(step):
                action()
        except CrashedError:
            yield step
        else:
            return
    pytest.fail("the action never comes to its end")


def flip(file, place=-9):
    """Change one bit of a file."""
    content = bytearray(file.read_bytes())
    content[place] ^= 4
    file.write_bytes(bytes(content))


def entries(path):
    """What a store consists of: the bytes of every file, None for a folder; the lease is no part of it."""
    inside = ((one.relative_to(path), one) for one in path.rglob("*"))
    return {name: one.read_bytes() if one.is_file() else None for name, one in inside if name.parts[0] != GUARD}
