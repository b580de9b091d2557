"""A server in front of another one that asks for a key in the path of every address, as some tile services do."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

HEADERS = ("Range", "Content-Type", "Accept-Encoding")
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Gateway:
    """Answers ``/KEY/...`` as `behind` does ``/...``, with its own keyed addresses in every document; else 403."""

    def __init__(self, behind: str, key: str) -> None:
        gateway = self
        self.paths: list[str] = []

        class Passing(BaseHTTPRequestHandler):
            def do_GET(self, body: bytes | None = None) -> None:
                gateway.paths.append(self.path)
                if not self.path.startswith(f"/{key}/"):
                    return self._send(403, b'{"message": "no key"}', {})
                headers = {name: self.headers[name] for name in HEADERS if name in self.headers}
                request = urllib.request.Request(behind + self.path.removeprefix(f"/{key}"), body, headers)
                try:
                    with DIRECT.open(request) as answer:
                        content = answer.read().replace(behind.encode(), f"{gateway.url}/{key}".encode())
                        return self._send(answer.status, content, dict(answer.headers))
                except urllib.error.HTTPError as error:
                    with error:
                        return self._send(error.code, f"{self.path}: {error.code}".encode(), {})

            def do_POST(self) -> None:
                self.do_GET(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

            def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name in {"Content-Type", "Content-Range"}:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
