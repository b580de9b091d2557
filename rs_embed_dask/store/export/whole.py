"""Files and folders that appear only when they are complete."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from rs_embed_dask.store.document import explained

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["whole_file", "whole_folder"]


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


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a folder to fill beside the one that is wanted, and put it in its place at the end; remove it on failure."""
    partial = path.with_name(f".{path.name}.partial")
    with explained("folder", str(path), "check that the folder above it exists, and the disk's space"):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            yield partial
            partial.replace(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
