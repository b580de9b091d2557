"""Sockets for the service: what was asked (`Call`), what goes wrong with it (`Fault`), and sending the answer."""

from __future__ import annotations

import json
import re
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Protocol
from urllib.parse import SplitResult, parse_qsl, urlsplit

from tests.services import blobs, stac_api
from tests.services.blobs import Reply

LOCAL_BLOBS = "/blobs/"


@dataclass(frozen=True)
class Call:
    """One request as the service saw it."""

    kind: str
    """landing, conformance, collection, item, search, token, head, range, whole, or other."""
    method: str
    path: str
    """Host (of a blob) and path, without the query."""
    query: Mapping[str, str] = field(repr=False)
    byte_range: str | None = None
    """The ``Range`` header."""
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer; the default is nothing."""

    delay_s: float = 0.0
    status: int | None = None
    """Answer this status instead."""
    retry_after_s: float | None = None
    keep_bytes: int | None = None
    """Send the headers of the whole answer, then only so many bytes of the body, then close."""
    reset: bool = False
    """Reset the connection without any answer."""
    body: bytes = b"<Error><Code>ServerBusy</Code></Error>"
    edit: Callable[[Call, Reply], Reply] | None = None
    """Send what this makes of the right answer."""
    raw: bytes | None = None
    """Send these bytes in place of any answer, then close."""
    is_silent: bool = False
    """Never answer."""
    drip_s: float | None = None
    """Send one byte at a time and wait so long after each."""
    drips_head: bool = False
    """Drip from the first byte of the headers on, not from that of the body."""


Rule = Callable[[Call], Fault | None]


class Answering(Protocol):
    """What a handler needs of the service behind it."""

    rule: Rule | None

    def answer(self, call: Call) -> Reply:
        """Return the right answer."""
        ...

    def note(self, call: Call, *, status: int, sent: int) -> None:
        """Count an answered request."""
        ...


KINDS = (
    (re.compile(rf"{blobs.TOKENS}/[^/]+/[^/]+"), "token"),
    (re.compile(stac_api.ROOT), "landing"),
    (re.compile(rf"{stac_api.ROOT}/search"), "search"),
    (re.compile(rf"{stac_api.ROOT}/conformance"), "conformance"),
    (re.compile(rf"{stac_api.ROOT}/collections"), "collections"),
    (re.compile(rf"{stac_api.ROOT}/collections/[^/]+"), "collection"),
    (re.compile(rf"{stac_api.ROOT}/collections/[^/]+/items/[^/]+"), "item"),
)


def kind_of(url: SplitResult, method: str, byte_range: str | None) -> str:
    """Return the kind of a request (see `Call`)."""
    path = url.path.rstrip("/")
    if (url.hostname or "").endswith(blobs.HOST_SUFFIX) or path.startswith(LOCAL_BLOBS):
        return "head" if method == "HEAD" else "range" if byte_range else "whole"
    return next((kind for pattern, kind in KINDS if pattern.fullmatch(path)), "other")


class Handler(BaseHTTPRequestHandler):
    """Turns sockets into `Call` and `Reply`, and applies the rule."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    service: ClassVar[Answering]

    def do_GET(self) -> None:
        """Answer a GET."""
        call = self._call()
        fault = (self.service.rule(call) if self.service.rule else None) or Fault()
        if fault.delay_s:
            time.sleep(fault.delay_s)
        if fault.reset or fault.is_silent or fault.raw is not None:
            self.service.note(call, status=0, sent=0)
            self._misbehave(fault)
        elif fault.status is not None:
            after = () if fault.retry_after_s is None else (("Retry-After", f"{fault.retry_after_s:g}"),)
            self._send(call, Reply(fault.status, fault.body, after))
        else:
            reply = self.service.answer(call)
            self._send(call, fault.edit(call, reply) if fault.edit else reply, fault)

    def do_POST(self) -> None:
        """Answer a POST."""
        self.do_GET()

    def do_HEAD(self) -> None:
        """Answer a HEAD."""
        self.do_GET()

    def _call(self) -> Call:
        url = urlsplit(self.path)
        byte_range = self.headers.get("Range")
        length = int(self.headers.get("Content-Length") or 0)
        text = self.rfile.read(length) if length else b""
        path = url.path
        if url.hostname:
            path = f"{url.hostname}{url.path}"
        return Call(
            kind=kind_of(url, self.command, byte_range),
            method=self.command,
            path=path,
            query=dict(parse_qsl(url.query, keep_blank_values=True)),
            byte_range=byte_range,
            body=json.loads(text) if text else {},
        )

    def _send(self, call: Call, reply: Reply, fault: Fault = Fault()) -> None:
        keep = fault.keep_bytes
        length = len(reply.body) if reply.length is None else reply.length
        body = b"" if self.command == "HEAD" else reply.body[:keep]
        lines = [f"HTTP/1.1 {reply.status} {self.responses.get(HTTPStatus(reply.status), ('',))[0]}"]
        lines += [f"{name}: {value}" for name, value in (*reply.headers, ("Content-Length", str(length)))]
        self.close_connection = self.close_connection or keep is not None
        self.service.note(call, status=reply.status, sent=len(body))
        try:
            head = "\r\n".join(lines).encode() + b"\r\n\r\n"
            # one send: a body in a second packet waits for a delayed acknowledgement
            at_once = (head + body) if fault.drip_s is None else b"" if fault.drips_head else head
            self.wfile.write(at_once)
            for byte in (head + body)[len(at_once) :]:
                self.wfile.write(bytes([byte]))
                if self._is_left(fault.drip_s):
                    break
        except ConnectionError:
            self.close_connection = True

    def _is_left(self, seconds: float | None) -> bool:
        """Wait for the client to hang up."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_READ)
            return bool(selector.select(seconds))

    def _misbehave(self, fault: Fault) -> None:
        self.close_connection = True
        if fault.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif fault.is_silent:
            self._is_left(None)
        elif fault.raw is not None:
            self.wfile.write(fault.raw)

    def log_message(self, *_: object) -> None:
        """Say nothing: the service counts instead."""


class LoopbackServer(ThreadingHTTPServer):
    """A thread for each connection, and room for many clients that come at once."""

    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that hang up; show everything else."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
