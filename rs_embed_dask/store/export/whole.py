"""Files that appear only when they are complete."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from rs_embed_dask.store.document import explained

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["whole_file"]


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a path to write beside the file, and put it in the file's place at the end; remove it on failure."""
    target = Path(path).expanduser()
    partial = target.with_name(f".{target.name}.partial")
    with explained("export", str(target), "check that its folder exists, and the disk's space"):
        try:
            yield partial
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
