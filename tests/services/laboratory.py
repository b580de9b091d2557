"""The laboratory of faults: what can go wrong at a service, one experiment each, and how a read must end then.

Three dates of one place, two files each. An experiment breaks something, once or for good. A read ends with the pixels
of an undisturbed one, with those of the dates that are left and a reason that names the lost one, or with the right
status and reason. It never hangs.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass

from rs_embed_dask.providers.stac import pages
from rs_embed_dask.store import Status
from tests.services.blobs import Reply
from tests.services.faults import Happening
from tests.services.loopback import Fault
from tests.services.service import Service

ALL = ("landing", "search", "token", "range")
DEAD = "S2A_02"
"""The date that lasting faults of one file hit."""


@dataclass(frozen=True)
class Ending:
    """How a read ends: with what status, without which scene, and what the reason says (a pattern)."""

    status: Status = Status.OK
    reason: str = ""
    lost: str = ""


@dataclass(frozen=True)
class Experiment:
    """A fault, and how a read must end then."""

    name: str
    ending: Ending
    happenings: tuple[tuple[Fault, dict], ...] = ()
    prepare: Callable[[Service, object], None] = lambda service, monkeypatch: None
    """Breaks a running service in other ways."""
    deadline_s: float = 60.0
    tries: int = 3
    """How often the engine reads."""

    def rule(self):
        return [Happening(fault, **options) for fault, options in self.happenings]


EQUAL = Ending()


def failed(reason):
    return Ending(Status.READ_FAILED, reason)


def without(reason):
    return Ending(Status.OK, rf"^asset B04 of item {DEAD}: .*({reason})", DEAD)


def on(kind, fault, times=None, **options):
    return ((fault, {"kinds": (kind,), "times": times, **options}),)


def answer(status, body=b"", kind="text/html", **headers):
    """Answer something else than what is right."""
    head = (("Content-Type", kind), *((name.replace("_", "-"), value) for name, value in headers.items()))
    return Fault(edit=lambda call, reply: Reply(status, body, head))


def changed(**changes):
    """Change fields of a JSON answer; None takes one out."""

    def edit(call, reply):
        document = json.loads(reply.body) | changes
        body = json.dumps({key: value for key, value in document.items() if value is not ...}).encode()
        return dataclasses.replace(reply, body=body)

    return Fault(edit=edit)


def linked(**link):
    """Give a page of items this link to the next."""
    return changed(links=[{"rel": "next", **link}])


def ranged(text, shift=0):
    """State another range than the one that is sent; `shift` takes off bytes of the body."""

    def edit(call, reply):
        first, last, size = reply.headers[-1][1].removeprefix("bytes ").replace("/", "-").split("-")
        numbers = {"first": int(first), "last": int(last), "size": int(size)}
        stated = text.format(**numbers, next=int(first) + 1, less=int(last) - 1, more=int(size) + 1)
        headers = (*reply.headers[:-1], *([("Content-Range", stated)] if stated else []))
        return dataclasses.replace(reply, headers=headers, body=reply.body[: len(reply.body) - shift])

    return Fault(edit=edit)


def grown(call, reply):
    """State another total for all parts of a file but its first."""
    is_first = reply.headers[-1][1].startswith("bytes 0-")
    return reply if is_first else ranged("bytes {first}-{last}/{more}").edit(call, reply)


def whole(keep=None, status=200):
    """Ignore the range, as servers without ranges do, and send so many bytes of the file."""

    def edit(call, reply):
        return Reply(
            status, FILES[call.path.rpartition("/")[0].rpartition("/")[2], call.path.rpartition("/")[2]][:keep]
        )

    return Fault(edit=edit)


FILES: dict[tuple[str, str], bytes] = {}
"""The bytes of the served files by item and file name, for faults that send too much or too little."""


def endless(call, reply):
    """A page that always has a next one."""
    page = json.loads(reply.body)
    number = int(call.query.get("number", 0)) + 1
    page["links"] = [{"rel": "next", "href": f"/api/stac/v1/search?token=0&number={number}", "method": "GET"}]
    return dataclasses.replace(reply, body=json.dumps(page).encode())


def damage(item, change):
    """Change the bytes of one file of an item."""

    def prepare(service, monkeypatch):
        path = next((service.root / "blobs").rglob(f"{item}/B04.tif"))
        path.write_bytes(change(path.read_bytes()))

    return prepare


def static(service, monkeypatch):
    landing = {
        "type": "Catalog",
        "id": "files",
        "links": [{"rel": "root", "href": "."}, {"rel": "item", "href": "a.json"}],
    }
    monkeypatch.setattr(type(service.api), "landing", lambda api, base: landing)


def get_only(service, monkeypatch):
    plain = type(service.api).landing

    def landing(api, base):
        page = plain(api, base)
        return page | {"links": [link for link in page["links"] if link.get("method") != "POST"]}

    monkeypatch.setattr(type(service.api), "landing", landing)


def no_search_link(service, monkeypatch):
    plain = type(service.api).landing
    drop = lambda page: page | {"links": [link for link in page["links"] if link["rel"] != "search"]}
    monkeypatch.setattr(type(service.api), "landing", lambda api, base: drop(plain(api, base)))


def nameless(times):
    """A name server that does not know a host, for the first `times` questions."""

    def prepare(service, monkeypatch):
        left, real = [times], socket.getaddrinfo

        def ask(host, *args, **options):
            if host not in {"storage.invalid", b"storage.invalid"}:
                return real(host, *args, **options)
            left[0] -= 1
            if left[0] >= 0:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return real("127.0.0.1", *args, **options)

        monkeypatch.setattr(socket, "getaddrinfo", ask)
        for item in service.api.items:
            for asset in item["assets"].values():
                asset["href"] = asset["href"].replace("127.0.0.1", "storage.invalid")

    return prepare


def closed_port(service, monkeypatch):
    for item in service.api.items:
        for asset in item["assets"].values():
            asset["href"] = asset["href"].replace(f":{service.port}", ":9")


def moved(target):
    """Redirect to the address that `target` makes of the right one."""
    return Fault(edit=lambda call, reply: Reply(302, b"", (("Location", target(call)),)))


PASSING = (
    *((f"{kind}: {name}", kind, fault, times) for kind in ALL for name, fault, times in (
        ("latency", Fault(delay_s=0.15), 3),
        ("503 twice", Fault(status=503), 2),
        ("429 without Retry-After", Fault(status=429), 1),
        ("429 with Retry-After", Fault(status=429, retry_after_s=0.3), 1),
        ("reset twice", Fault(reset=True), 2),
        ("no answer", Fault(is_silent=True), 1),
        ("an answer that is not HTTP", Fault(raw=b"* OK IMAP4 ready\r\n"), 1),
        ("cut off within the headers", Fault(raw=b"HTTP/1.1 200 OK\r\nContent-Ty"), 1),
        ("cut off within the body", Fault(keep_bytes=40), 2),
        ("closed without a byte", Fault(raw=b""), 1),
        ("a drip of the body", Fault(drip_s=0.2), 1),
        ("a drip of the headers", Fault(drip_s=0.2, drips_head=True), 1),
        ("200 with HTML", answer(200, b"<!DOCTYPE html><html>maintenance</html>"), 2),
        ("200 with an error in JSON", answer(200, b'{"code": 503, "message": "busy"}', "application/json"), 2),
        ("200 with XML", answer(200, b'<?xml version="1.0"?><Error><Code>ServerBusy</Code></Error>', "text/xml"), 1),
        ("200 with nothing", answer(200), 1),
        ("204", answer(204), 2),
        ("202", answer(202, b"later"), 1),
        ("bytes that do not unpack", answer(200, b"not gzip", Content_Encoding="gzip"), 1),
    )),
)  # fmt: skip

RANGES = (
    ("another range", ranged("bytes {next}-{last}/{size}")),
    ("a shorter range", ranged("bytes {first}-{less}/{size}", shift=1)),
    ("no Content-Range", ranged("")),
    ("an unknown size", ranged("bytes {first}-{last}/*")),
    ("another unit", ranged("items {first}-{last}/{size}")),
    ("another total than before", ranged("bytes {first}-{last}/{more}")),
    ("fewer bytes than stated", ranged("bytes {first}-{last}/{size}", shift=7)),
    ("more bytes than stated", Fault(edit=lambda call, reply: dataclasses.replace(reply, body=reply.body + b"more"))),
    ("the beginning of the file with 200", whole(keep=9000)),
    ("a few bytes of the file with 200", whole(keep=3)),
)

SEARCHES = (
    ("{}", answer(200, b"{}", "application/json")),
    ("a list", answer(200, b"[]", "application/json")),
    ("null", answer(200, b"null", "application/json")),
    ("features null", changed(features=None)),
    ("features missing", changed(features=...)),
    ("features an object", changed(features={})),
    ("invalid JSON", answer(200, b'{"type": "FeatureCollection", "features": [', "application/json")),
    ("invalid UTF-8", answer(200, b'{"features": ["\xff\xfe"]}', "application/json")),
)

BOMB = answer(200, gzip.compress(bytes(2**26)), "application/json", Content_Encoding="gzip")
FORGED = "se=2099-01-01T00%3A00%3A00Z&sig=no"
NO_ACCOUNT = r"answered 40[139].*(planetarycomputer configure|credentials)"

DRIP = {"deadline_s": 3.0, "tries": 5}

EXPERIMENTS = (
    Experiment("nothing", EQUAL),
    *(Experiment(name, EQUAL, on(kind, fault, times), **(DRIP if fault.drip_s else {}))
      for name, kind, fault, times in PASSING),
    *(Experiment(f"range: {name}", EQUAL, on("range", fault, 2)) for name, fault in RANGES),
    *(Experiment(f"search: {name}", EQUAL, on("search", fault, 2)) for name, fault in SEARCHES),
    *(Experiment(f"search: {name} for good", failed(r"transient.*STAC API.*(no list of features|not JSON|not a JSON)"),
                 on("search", fault)) for name, fault in SEARCHES),
    *(Experiment(f"range: {status} once", EQUAL, on("range", Fault(status=status), 1))
      for status in (401, 403, 408, 409, 425, 500, 502, 504, 520, 529)),
    # --- files that stay unreadable
    *(Experiment(f"one file: {status}", without(f"answered {status}"),
                 on("range", Fault(status=status), path=f"{DEAD}/B04")) for status in (400, 403, 404, 410, 416, 501)),
    Experiment("one file: no TIFF", without("not a TIFF|no TIFF"),
               prepare=damage(DEAD, lambda data: b"PNG!" + data[4:])),
    Experiment("one file: JPEG 2000", without("JPEG 2000, not a TIFF"),
               prepare=damage(DEAD, lambda data: b"\x00\x00\x00\x0cjP  " + data[8:])),
    Experiment("one file: noise for pixels", without("cannot be decoded"),
               prepare=damage(DEAD, lambda data: data[:4000] + b"\xa5" * (len(data) - 4000))),
    Experiment("one file: a damaged directory", without("directory|entries"),
               prepare=damage(DEAD, lambda data: data[:8] + b"\xff" * 200 + data[208:])),
    Experiment("all files: 404", failed(r"asset \w+ of item S2A_01.*answered 404.*not there"),
               on("range", Fault(status=404))),
    Experiment("all files: 403", failed(NO_ACCOUNT), on("range", Fault(status=403))),
    Experiment("all files: 503", failed("transient.*answered 503"), on("range", Fault(status=503))),
    Experiment("all files: HTML", failed("transient.*page or message.*text/html"),
               on("range", answer(200, b"<html></html>"))),
    Experiment("all files: another total than before, for good", failed("transient.*file changed while it was read"),
               on("range", Fault(edit=grown))),
    Experiment("all files: a drip", failed("transient.*deadline is over.*deadline_s"), on("range", Fault(drip_s=0.05)),
               deadline_s=2.0, tries=2),
    Experiment("all files: silence", failed("transient.*[Tt]imed? ?out"), on("range", Fault(is_silent=True)), tries=1),
    # --- tokens
    Experiment("token: 403", failed(NO_ACCOUNT), on("token", Fault(status=403))),
    Experiment("token: 404", failed("token for container.*answered 404"), on("token", Fault(status=404))),
    Experiment("token: 503 for good", failed("transient.*token for container.*answered 503"),
               on("token", Fault(status=503))),
    Experiment("token: expired when it comes", EQUAL,
               on("token", changed(**{"msft:expiry": "2020-01-01T00:00:00Z"}), 1)),
    Experiment("token: a forged one, once", EQUAL, on("token", changed(token=FORGED), 1)),
    Experiment("token: forged ones", failed(NO_ACCOUNT), on("token", changed(token=FORGED))),
    Experiment("token: without a token", EQUAL, on("token", changed(token=...), 1)),
    # --- APIs
    Experiment("API: well-formed and empty", Ending(Status.NO_DATA, "no scene"), on("search", changed(features=[]))),
    Experiment("API: a static catalogue", failed("offers no search.*provider='files'"), prepare=static),
    Experiment("API: GET only", EQUAL, prepare=get_only),
    Experiment("API: POST refused", EQUAL, on("search", Fault(status=405), 1)),
    Experiment("API: without conformsTo", EQUAL, on("landing", changed(conformsTo=...))),
    Experiment("API: without a search link", EQUAL, prepare=no_search_link),
    Experiment("API: next without address", EQUAL, on("search", linked(href=None))),
    Experiment("API: next to itself", failed("next page is one that was read"),
               on("search", linked(href="/api/stac/v1/search?token=1", method="GET"))),
    Experiment("API: next to a file", failed(r"no http\(s\) address|cannot read file"),
               on("search", linked(href="file:///etc/passwd"))),
    Experiment("API: next pages without end", failed("more than 40 pages"), on("search", Fault(edit=endless)),
               lambda service, monkeypatch: monkeypatch.setattr(pages, "MOST_PAGES", 40)),
    Experiment("API: a page that is a bomb", failed("STAC API.*answer is longer than"), on("search", BOMB)),
    Experiment("API: a landing page that is a bomb", failed("STAC API.*answer is longer than"),
               on("landing", BOMB)),
    Experiment("API: 400", failed(r"STAC API.*status 400"),
               on("search", Fault(status=400, body=b'{"code": "BadRequest"}'))),
    Experiment("API: 401", failed("STAC API.*credentials"), on("search", Fault(status=401, body=b"no"))),
    Experiment("API: landing page is HTML for good", failed("transient.*STAC API.*not JSON"),
               on("landing", answer(200, b"<html>"))),
    Experiment("API: landing page is {} for good", failed("transient.*not the landing page"),
               on("landing", answer(200, b"{}", "application/json"))),
)  # fmt: skip

PLAIN = (
    Experiment("redirect to the file", EQUAL, on("range", moved(lambda call: f"{call.path}?again"), 3)),
    Experiment(
        "redirects to a cloud's metadata",
        failed(r"leads to 169\.254\.169\.254: it has a link-local address"),
        on("range", moved(lambda call: "http://169.254.169.254/latest/meta-data")),
    ),
    Experiment(
        "redirects to a file of the worker's",
        failed(r"leads to file:///etc/passwd: cannot read file: addresses"),
        on("range", moved(lambda call: "file:///etc/passwd")),
    ),
    Experiment("redirects in a circle", failed("transient.*redirects"), on("range", moved(lambda call: call.path))),
    Experiment("a server without ranges", EQUAL, on("range", whole())),
    Experiment("the beginning of each file, once", EQUAL, on("range", whole(keep=9000), 1, each=True)),
    Experiment("a name that is not known at first", EQUAL, prepare=nameless(3)),
    Experiment(
        "a name that is not known", failed("transient.*resol|transient.*NameResolution"), prepare=nameless(10**9)
    ),
    Experiment("a port that nobody listens at", failed("transient.*[Cc]onnection"), prepare=closed_port),
)
"""The same at a storage that wants no signatures."""
