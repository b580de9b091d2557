"""A small Planetary Computer on this machine: STAC API, token issuer and blob storage in one loopback server.

Standard library only. It listens on 127.0.0.1 and nowhere else, counts every request, and can be told to answer
slowly or wrongly. Run one in a thread of this process::

    with Service("catalogue") as service:
        provider = StacProvider(url=service.url, source="planetary_computer")

or as a process of its own (`tests.services.service_process`).

With ``hrefs="azure"`` items point at ``http://ACCOUNT.blob.core.windows.net/...`` as in Planetary Computer, so the
unmodified `planetary_computer` client signs them; the server is then also the HTTP proxy for that host, and client
processes need `Service.environment`. With ``hrefs="local"`` items point straight at the server and nothing is signed.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, deque
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, Self

from tests.services import blobs, stac_api
from tests.services.blobs import Reply
from tests.services.loopback import LOCAL_BLOBS, Call, Handler, LoopbackServer, Rule

Hrefs = Literal["azure", "local"]
LOOPBACK = "127.0.0.1"
REMEMBERED = 200_000
HREF_PREFIX = "blob:"


class Service:
    """A STAC API with its storage, served from a folder that `tests.services.catalog` wrote.

    Parameters
    ----------
    root
        The catalogue's folder.
    hrefs
        What items point at: ``"azure"`` (signed, through the proxy) or ``"local"`` (plain, this server).
    token_ttl_s
        Life of issued tokens in seconds.
    page_size
        Largest page of a search.
    rule
        Decides for each request what goes wrong with it; None for a service without faults.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        hrefs: Hrefs = "azure",
        token_ttl_s: float = 3600.0,
        page_size: int = 250,
        rule: Rule | None = None,
    ) -> None:
        self.root = Path(root)
        self.hrefs = hrefs
        self.token_ttl_s = token_ttl_s
        self.rule = rule
        self._seen: deque[tuple[Call, int, int]] = deque(maxlen=REMEMBERED)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        handler = type("BoundHandler", (Handler,), {"service": self})
        self._server = LoopbackServer((LOOPBACK, 0), handler)
        self.port = int(self._server.server_address[1])
        self.api = self._load(page_size)

    def _load(self, page_size: int) -> stac_api.StacApi:
        def replaced(text: str) -> str:
            base = f"http://{LOOPBACK}:{self.port}{LOCAL_BLOBS}" if self.hrefs == "local" else "http://"
            return text.replace(f'"{HREF_PREFIX}', f'"{base}')

        documents = {n: json.loads(replaced((self.root / f"{n}.json").read_text())) for n in ("items", "collections")}
        return stac_api.StacApi(
            tuple(documents["items"]["features"]), tuple(documents["collections"]), page_size=page_size
        )

    @property
    def url(self) -> str:
        """Address of the STAC API."""
        return f"http://{LOOPBACK}:{self.port}{stac_api.ROOT}"

    @property
    def token_url(self) -> str:
        """Address of the token issuer."""
        return f"http://{LOOPBACK}:{self.port}{blobs.TOKENS}"

    def environment(self) -> dict[str, str]:
        """Return the environment that makes the unmodified `planetary_computer` client use this service."""
        return client_environment(self.port)

    def counts(self) -> Counter[str]:
        """Return how many requests of each kind were answered; a failed one counts as e.g. ``"range 503"``."""
        with self._lock:
            return Counter(
                c.kind if status < HTTPStatus.BAD_REQUEST else f"{c.kind} {status}" for c, status, _ in self._seen
            )

    def bytes_sent(self, of: Callable[[Call], bool] = lambda _: True) -> int:
        """Return how many bytes of bodies were sent, in answer to some calls or to all."""
        with self._lock:
            return sum(n for call, _, n in self._seen if of(call))

    def calls(self) -> tuple[Call, ...]:
        """Return the requests in the order of their answers."""
        with self._lock:
            return tuple(c for c, *_ in self._seen)

    def forget_calls(self) -> None:
        """Begin counting anew."""
        with self._lock:
            self._seen.clear()

    def note(self, call: Call, *, status: int, sent: int) -> None:
        """Count one answered request."""
        with self._lock:
            self._seen.append((call, status, sent))

    def start(self) -> Self:
        """Serve from a thread of this process."""
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving and free the port."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def answer(self, call: Call) -> Reply:
        """Return the right answer to a request, whatever the rule then makes of it."""
        if call.kind in {"head", "range", "whole"}:
            return self._blob(call)
        if call.kind == "token":
            account, container = call.path.rsplit("/", 2)[-2:]
            return _json(blobs.issue(account, container, ttl_s=self.token_ttl_s))
        base = self.url
        parts = call.path.removeprefix(stac_api.ROOT).strip("/").split("/")
        if call.kind == "search":
            query = dict(call.body) if call.method == "POST" else stac_api.from_query_string(call.query)
            return _json(self.api.search(query, base=base, method=call.method))
        documents: dict[str, Callable[[], stac_api.Json | None]] = {
            "landing": lambda: self.api.landing(base),
            "conformance": lambda: {"conformsTo": self.api.landing(base)["conformsTo"]},
            "collections": lambda: {"collections": list(self.api.collections), "links": []},
            "collection": lambda: self.api.collection(parts[1]),
            "item": lambda: self.api.item(parts[1], parts[3]),
        }
        document = documents[call.kind]() if call.kind in documents else None
        return _json(document) if document else _json({"code": "NotFoundError"}, HTTPStatus.NOT_FOUND)

    def _blob(self, call: Call) -> Reply:
        signed = not call.path.startswith(LOCAL_BLOBS)
        host, _, rest = call.path.removeprefix(LOCAL_BLOBS).partition("/")
        container, _, name = rest.partition("/")
        if signed:
            refused = blobs.refusal(host.removesuffix(blobs.HOST_SUFFIX), container, call.query)
            if refused:
                return refused
        folder = (self.root / "blobs").resolve()
        path = (folder / host / container / name).resolve()
        if not path.is_relative_to(folder):
            return Reply(HTTPStatus.NOT_FOUND)
        return blobs.read(path, byte_range=call.byte_range, head=call.method == "HEAD")


def client_environment(port: int) -> dict[str, str]:
    """Return the environment of a client of the service at `port`: its token issuer, and itself as the proxy."""
    proxy = f"http://{LOOPBACK}:{port}"
    return {
        "PC_SDK_SAS_URL": f"{proxy}{blobs.TOKENS}",
        "http_proxy": proxy,
        "GDAL_HTTP_PROXY": proxy,
        "no_proxy": f"{LOOPBACK},localhost",
    }


def _json(document: Any, status: int = HTTPStatus.OK) -> Reply:
    return Reply(status, json.dumps(document).encode(), (("Content-Type", "application/geo+json"),))
