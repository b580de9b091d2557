"""Heads of remote files, kept in the user's cache folder: a later run on this machine begins with the pixels.

A head says where the blocks of a file lie, and how large the file is. Every answer to a range states that size too, so
a file that has changed since is noticed by the first range that is read of it; heads that hold pixels themselves are
not kept. Nor are those of this machine's own services, of which the same address may be another one tomorrow.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Final
from urllib.parse import urldefrag, urlsplit

from rs_embed_dask.providers.addresses import is_loopback
from rs_embed_dask.providers.kept import Piece

__all__ = ["MOST_KEPT", "HeadFolder", "user_folder"]

MOST_KEPT: Final = 8192
"""Of 32 KiB each: 256 MiB."""
_LOOK_EVERY: Final = 256
_USED_S: Final = 24 * 3600.0
_FORM: Final = struct.Struct("<QI")  # size of the file, checksum of the head


def user_folder() -> Path:
    """Return the folder of this package in the user's cache. Raises RuntimeError where the user has no home."""
    parts = ("Library", "Caches") if sys.platform == "darwin" else (".cache",)
    return Path.home().joinpath(*parts, "rs-embed-dask")


class HeadFolder:
    """A folder of heads, by address; what was not used for longest is removed beyond a number of them.

    A folder that cannot be read or written to keeps nothing.
    """

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most, self._until_look, self._lock = most, 0, threading.Lock()

    def get(self, href: str) -> Piece | None:
        """Return the head of a file, where it is kept and whole."""
        with contextlib.suppress(OSError, RuntimeError):
            path = self._path(href)
            if path is not None:
                content = path.read_bytes()
                data = content[_FORM.size :]
                if len(content) > _FORM.size and _FORM.unpack_from(content)[1] == zlib.crc32(data):
                    if time.time() - path.stat().st_mtime > _USED_S:
                        path.touch()
                    return Piece(0, data, _FORM.unpack_from(content)[0])
        return None

    def put(self, href: str, head: Piece) -> None:
        """Keep a head."""
        with contextlib.suppress(OSError, RuntimeError):
            path = self._path(href)
            if path is not None:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
                draft.write_bytes(_FORM.pack(head.size, zlib.crc32(head.data)) + head.data)
                draft.replace(path)
                self._look(path.parent)

    def drop(self, href: str) -> None:
        """Forget the head of a file that has changed."""
        with contextlib.suppress(OSError, RuntimeError):
            path = self._path(href)
            if path is not None:
                path.unlink(missing_ok=True)

    @staticmethod
    def _path(href: str) -> Path | None:
        url = urldefrag(href).url
        if urlsplit(url).scheme not in {"http", "https"} or is_loopback(url):
            return None
        return user_folder() / "heads" / hashlib.sha256(url.encode()).hexdigest()

    def _look(self, folder: Path) -> None:
        """Remove the oldest now and then."""
        with self._lock:
            self._until_look -= 1
            if self._until_look >= 0:
                return
            self._until_look = min(_LOOK_EVERY, self._most) - 1
        with os.scandir(folder) as entries:  # closed too where one of them is removed meanwhile
            ages = sorted((entry.stat().st_mtime, entry.path) for entry in entries)
        for _, path in ages[: max(0, len(ages) - self._most)]:
            Path(path).unlink(missing_ok=True)
