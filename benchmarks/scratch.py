"""Where benchmarks write what is thrown away afterwards."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch(parent=None):
    """Give a folder that is removed in the end, in `parent`, which is made if it is not there."""
    if parent is not None:
        Path(parent).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        yield Path(folder)
