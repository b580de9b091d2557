"""Connections on which an answer must arrive before the deadline of the read that asked for it, and only so large.

A socket's timeout begins anew with every byte, so by itself it lets a server that drips hold a reader for ever. And a
few kilobytes may unpack to gigabytes, so that a body is unpacked piece by piece and left where it becomes too long.
"""

from __future__ import annotations

import http.client
import io
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from rs_embed_dask.providers.retry import time_left_s

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["PIECE_BYTES", "POOL_CLASSES", "BoundedAdapter", "BoundedResponse", "body_of"]

PIECE_BYTES: Final = 2**18


def body_of(pieces: Iterable[bytes], most_bytes: int) -> tuple[bytes, bool]:
    """Join the unpacked pieces of an answer, at most so many bytes, and tell whether there are more."""
    parts, n_bytes = [], 0
    for piece in pieces:
        parts.append(piece)
        n_bytes += len(piece)
        if n_bytes > most_bytes:
            return b"".join(parts)[:most_bytes], True
    return b"".join(parts), False


class _BoundedStream(io.RawIOBase):
    """What a server sends, as long as there is time."""

    def __init__(self, sock: socket.socket, raw: Any) -> None:
        self._sock, self._raw, self._silence_s = sock, raw, sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        left_s = time_left_s()
        if left_s <= 0:
            raise TimeoutError
        if self._silence_s is not None and left_s < self._silence_s:  # an answer has one deadline, which draws near
            self._sock.settimeout(left_s)
        return cast("int | None", self._raw.readinto(buffer))

    def close(self) -> None:
        self._raw.close()
        super().close()


class BoundedResponse(http.client.HTTPResponse):
    """An answer that is read as long as there is time; the ``response_class`` of a connection."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_BoundedStream(sock, self.fp.detach()))


class _Plain(HTTPConnection):
    response_class = BoundedResponse


class _Secure(HTTPSConnection):
    response_class = BoundedResponse


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


POOL_CLASSES: Final = {"http": _PlainPool, "https": _SecurePool}
"""For the ``pool_classes_by_scheme`` of urllib3's managers."""


class BoundedAdapter(HTTPAdapter):
    """The same for `requests`."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = POOL_CLASSES

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        """Make the pools of connections through a proxy."""
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = POOL_CLASSES
        return manager
