"""Threads that all callers in a process share."""

from __future__ import annotations

import subprocess
import sys
import threading

from rs_embed_dask.imagery.threads import lasting_threads

FORKED = """
import os, sys
from rs_embed_dask.imagery.threads import lasting_threads

def seven():
    return lasting_threads("rs-test", 2).submit(int, "7").result(timeout=20)

assert seven() == 7
child = os.fork()
if not child:
    os._exit(0 if seven() == 7 else 1)
sys.exit(os.waitpid(child, 0)[1])
"""


def test_they_are_the_same_for_all_callers():
    names = {lasting_threads("rs-test-same", 1).submit(lambda: threading.current_thread().name).result() for _ in "abc"}
    assert names == {"rs-test-same_0"}


def test_a_process_that_was_forked_starts_its_own():
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], check=True, timeout=60)
