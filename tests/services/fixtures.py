"""What provider tests share: a fresh process memory, and services whose environment the test itself gets.

`tests/providers/conftest.py` makes these known to pytest.
"""

from __future__ import annotations

import shutil
import sys
import time
import traceback
from contextlib import ExitStack

import pytest

from rs_embed_dask.providers import addresses, geotiff, heads, http
from rs_embed_dask.providers.stac import search
from tests.services.scenes import catalogue
from tests.services.service import Service


def forget_heads():
    geotiff._HEADS._files.clear()
    shutil.rmtree(heads.user_folder() / "heads", ignore_errors=True)


def forget_answers():
    search._ANSWERS._answers.clear()
    search._AREAS.clear()
    search._client.cache_clear()


def forget_everything():
    """Empty every cache of this process, as a new process would have it."""
    forget_heads()
    forget_answers()
    addresses._proxy.cache_clear()
    addresses._pinned.cache_clear()
    addresses._pools.cache_clear()
    http._PACES._of.clear()
    http._TOKENS._tokens.clear()
    http._TOKENS._failures.clear()
    http._client().TOKEN_CACHE.clear()
    http._client().Settings.get.cache_clear()


def reading(thread_frame):
    """Tell whether a thread is in the middle of a read."""
    frames = traceback.walk_stack(thread_frame)
    return any(frame.f_code.co_filename == http.__file__ for frame, _ in frames)


def wait_for_readers(seconds=30):
    """Wait for readers that a failed read left behind, so that the next test does not hear from them."""
    until = time.monotonic() + seconds
    while any(reading(frame) for frame in sys._current_frames().values()):
        assert time.monotonic() < until, "a reader does not come to its end"
        time.sleep(0.01)


@pytest.fixture
def new_process():
    """Nothing remembered of earlier tests: no heads of files, no answers, no tokens, no readers at work."""
    forget_everything()
    yield
    forget_everything()


@pytest.fixture
def plain(tmp_path, new_process):
    """``plain(*scenes)`` serves scenes with unsigned links from a thread of this process."""
    with ExitStack() as stack:

        def serve(*scenes, edit=None, **options):
            root = catalogue(tmp_path / f"catalogue-{len(list(tmp_path.iterdir()))}", *scenes, edit=edit)
            return stack.enter_context(Service(root, hrefs="local", **options))

        yield serve
        wait_for_readers()


@pytest.fixture
def azure(tmp_path, new_process, monkeypatch):
    """``azure(*scenes)`` serves scenes with links to be signed, and points this process at the service."""
    with ExitStack() as stack:

        def serve(*scenes, edit=None, **options):
            root = catalogue(tmp_path / f"catalogue-{len(list(tmp_path.iterdir()))}", *scenes, edit=edit)
            service = stack.enter_context(Service(root, hrefs="azure", **options))
            for name, value in service.environment().items():
                monkeypatch.setenv(name, value)
            forget_everything()
            return service

        yield serve
        wait_for_readers()
