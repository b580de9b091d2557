"""Earth Engine on this machine: what the real client asks over HTTP, with limits, delays, faults and counters."""

from __future__ import annotations

import io
import json
import re
import socket
import struct
import threading
import time
from collections import Counter, deque
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import numpy as np

from tests.services.earth import pixels
from tests.services.earth.collections_of import FUNCTIONS
from tests.services.earth.discovery import algorithms, described
from tests.services.earth.expression import Expression
from tests.services.earth.mishaps import Settings
from tests.services.earth.values import Band, Collection, EarthError, Image, Place, plain
from tests.services.loopback import LoopbackServer

ROUTES = {
    "discovery": r"/\$discovery/rest",
    "algorithms": r"/v1/projects/[^/]+/algorithms",
    "value": r"/v1/projects/[^/]+/value:compute",
    "pixels": r"/v1/projects/[^/]+/image:computePixels",
    "catalogue": r"/catalog/.+\.json",
}
COUNTED = ("value", "pixels")
MOST_SIDE, MOST_BANDS = 32_768, 1024
TRANSFORM = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")


class Earth:
    """The service behind the sockets."""

    def __init__(self, scenes=(), port=0):
        self.scenes, self.catalogue = {}, {}
        self.serve(scenes)
        self.settings = Settings()
        self.lock = threading.Lock()
        self.era = self.in_flight = 0
        self.forget()
        self.answers = {}
        handler = type("Handler", (EarthHandler,), {"earth": self})
        self.server = LoopbackServer(("127.0.0.1", port), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def serve(self, scenes):
        """Serve these scenes from now on."""
        self.scenes, self.answers, self.catalogue = {}, {}, {}
        for scene in scenes:
            self.scenes.setdefault(scene.collection, []).append(scene)

    def forget(self):
        self.era += 1
        self.peak = self.in_flight
        self.recent = deque()
        self.counts, self.statuses, self.sent, self.received = Counter(), Counter(), Counter(), Counter()
        self.bodies, self.headers = [], []

    def note(self, kind, status, data, raw):
        with self.lock:
            self.counts[kind] += 1
            self.statuses[status] += 1
            self.sent[kind] += len(data)
            self.received[kind] += len(raw)

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def report(self):
        return {
            "counts": dict(self.counts),
            "statuses": {str(status): n for status, n in self.statuses.items()},
            "sent": dict(self.sent),
            "received": dict(self.received),
            "peak": self.peak,
            "headers": self.headers[-3:],
        }

    # ---------------------------------------------------------- answers
    def enter(self):
        """Let a request in, or refuse it for coming too soon or beside too many."""
        with self.lock:
            self.in_flight += 1
            self.peak = max(self.peak, self.in_flight)
            now = time.monotonic()
            while self.recent and now - self.recent[0] > 1:
                self.recent.popleft()
            crowded = self.in_flight > self.settings.at_once
            hasty = self.settings.per_second is not None and len(self.recent) >= self.settings.per_second
            if crowded or hasty:
                return EarthError("Too Many Requests: request rate or concurrency limit exceeded.", 429)
            self.recent.append(now)
        return None

    def leave(self):
        with self.lock:
            self.in_flight -= 1

    def fault(self, kind, body):
        if not self.settings.faults:
            return None
        size = counted_bytes(body) if kind == "pixels" else 0
        with self.lock:
            for fault in self.settings.faults:
                if fault.of == kind and fault.times and size >= fault.over_bytes:
                    fault.times -= 1
                    return fault
        return None

    def answer(self, kind, body, raw):
        if kind == "discovery":
            return json.dumps(described(self.url)).encode(), "application/json"
        if kind == "algorithms":
            return algorithms(), "application/json"
        key = raw if self.settings.remember else None
        if key is None or key not in self.answers:
            made = self.value(body) if kind == "value" else self.pixels(body)
            if key is None:
                return made
            self.answers[key] = made
        return self.answers[key]

    def value(self, body):
        context = SimpleNamespace(place=None, collection=self.collection)
        found = Expression(body["expression"], FUNCTIONS, context).value()
        return json.dumps({"result": plain(found)}).encode(), "application/json"

    def pixels(self, body):
        if body.get("fileFormat") != "NPY":
            raise EarthError(f"emulator: the format {body.get('fileFormat')} is not emulated")
        place = place_of(body["grid"])
        context = self.context(place)
        image = pixels.as_image(Expression(body["expression"], FUNCTIONS, context).value(), context)
        if not image.bands:
            raise EarthError("Image has no bands.")
        total = int(np.prod(place.shape)) * sum(band.dtype.itemsize + 1 for band in image.bands)
        if total > self.settings.limit_bytes:
            limit = self.settings.limit_bytes
            raise EarthError(f"Total request size ({total} bytes) must be less than or equal to {limit} bytes.")
        if max(place.shape) > MOST_SIDE or len(image.bands) > MOST_BANDS:
            raise EarthError(f"Pixel grid dimensions {place.shape} or {len(image.bands)} bands are too many.")
        made = np.zeros(place.shape, [(band.name, band.dtype) for band in image.bands])
        for band in image.bands:
            values, valid = band.pixels
            made[band.name] = np.where(valid, values, 0)  # a masked pixel is a 0 like any other
        held = io.BytesIO()
        np.save(held, made, allow_pickle=False)
        return held.getvalue(), "application/octet-stream"

    def context(self, place):
        return SimpleNamespace(
            place=place,
            collection=lambda name: self.collection(name, place),
            moved=lambda source, target: self.context(place.moved(source, target)),
        )

    def collection(self, name, place=None):
        if name not in self.scenes:
            raise EarthError(f"ImageCollection.load: ImageCollection asset '{name}' not found.", 400)
        scenes = sorted(self.scenes[name], key=lambda scene: scene.index)
        return Collection(tuple(Image(bands_of(s, place), s.all_properties, s) for s in scenes))


def bands_of(scene, place):
    def band(name, raster):
        beside = lambda rows, columns: raster.at(place.crs, *place.shifted(rows, columns).centres)
        return Band(name, raster.dtype, lambda: raster.at(place.crs, *place.centres), beside)

    return tuple(band(name, raster) for name, raster in scene.bands.items())


def place_of(grid):
    size, step = grid["dimensions"], grid["affineTransform"]
    transform = tuple(float(step.get(name, 0.0)) for name in TRANSFORM)
    return Place(grid.get("crsCode") or grid["crsWkt"], transform, (size["height"], size["width"]))


def counted_bytes(body):
    """Bytes of a request of float bands, told by its names of bands without evaluating it."""
    size = body["grid"]["dimensions"]
    names = set(re.findall(r'"\d+_[a-z]\w*"', json.dumps(body["expression"])))
    return size["width"] * size["height"] * max(1, len(names)) * 5


class EarthHandler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    earth: Earth

    def do_GET(self):
        self.serve(b"")

    def do_POST(self):
        self.serve(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def log_message(self, *_):
        """The counters tell."""

    def serve(self, raw):
        path = unquote(urlsplit(self.path).path)
        kind = next((name for name, route in ROUTES.items() if re.fullmatch(route, path)), "other")
        earth, body = self.earth, json.loads(raw) if raw and kind in COUNTED else None
        era = earth.era
        refused = earth.enter() if kind in COUNTED else None
        try:
            fault = earth.fault(kind, body)
            time.sleep(earth.settings.latency_s if kind in COUNTED else 0)
            status, data, more = self.answered(kind, (body, raw), refused, fault)
        finally:
            if kind in COUNTED:
                earth.leave()
        if era == earth.era:  # a request that hung through an earlier test belongs to that
            earth.note(kind, status, data, raw)
            if kind in COUNTED:
                earth.bodies.append(body)
                earth.headers.append(dict(self.headers))
        self.send(status, data, more, fault)

    def refuse(self, kind, refused, fault):
        """Raise what is wrong with a request, if anything is."""
        token = self.earth.settings.token
        if refused is not None:
            raise refused
        if fault is not None and fault.kind == "hang":
            time.sleep(fault.seconds)
        if fault is not None and fault.kind == "status":
            raise EarthError(fault.message, fault.status)
        if kind in {*COUNTED, "algorithms"} and token and self.headers.get("Authorization") != f"Bearer {token}":
            raise EarthError("Request had invalid authentication credentials.", 401)
        if kind == "other":
            raise EarthError(f"Not found: {self.path}", 404)

    def answered(self, kind, asked, refused, fault):
        body, raw = asked
        try:
            self.refuse(kind, refused, fault)
            if kind == "catalogue":
                return self.described()
            data, form = self.earth.answer(kind, body, raw)
        except EarthError as error:
            told = {"error": {"code": error.status, "message": str(error), "status": "INVALID"}}
            after = None if fault is None else fault.retry_after_s
            headers = {"Content-Type": "application/json"} | ({} if after is None else {"Retry-After": f"{after:g}"})
            return error.status, json.dumps(told).encode(), headers
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            told = {"error": {"code": 500, "message": f"emulator: {type(error).__name__}: {error}", "status": "BUG"}}
            return 400, json.dumps(told).encode(), {"Content-Type": "application/json"}
        if fault is not None and fault.kind == "html":
            return 502, b"<html><title>502</title>Bad Gateway</html>", {"Content-Type": "text/html"}
        if fault is not None and fault.kind == "garbage":
            return 200, b"these are no pixels", {"Content-Type": form}
        return 200, data, {"Content-Type": form}

    def described(self):
        """The public data catalogue: a document of each collection that it lists, or none."""
        document = self.earth.catalogue.get(unquote(urlsplit(self.path).path).removeprefix("/catalog/"))
        if document is None:
            return 404, b"<?xml version='1.0'?><Error/>", {"Content-Type": "application/xml"}
        return 200, json.dumps(document).encode(), {"Content-Type": "application/json"}

    def send(self, status, data, headers, fault):
        if fault is not None and fault.kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        cut = fault is not None and fault.kind == "truncate"
        lines = [f"HTTP/1.1 {status} Answer", f"Content-Length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        try:
            self.wfile.write("\r\n".join(lines).encode() + b"\r\n\r\n" + (data[: len(data) // 2] if cut else data))
        except ConnectionError:
            cut = True
        self.close_connection = self.close_connection or cut
