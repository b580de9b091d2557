"""A small S3-like service in this process: objects, listings, conditional writes, and faults.

Every request is handled under one lock, so that a condition and its write are one step, as they are on S3.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

XML = '<?xml version="1.0" encoding="UTF-8"?>'
SLOW_DOWN = f"{XML}<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>".encode()


class ObjectService:
    """The objects of one bucket, and what goes wrong.

    Parameters
    ----------
    rates : dict of str to float
        Shares of requests: "busy" (503), "slow" (503, SlowDown), "lost" (done, but the connection breaks before
        the answer), "dropped" (the connection breaks before anything is done).
    seed : int
        Of the faults.
    """

    bucket = "bucket"

    def __init__(self, rates=None, seed=0):
        self.objects, self.counts = {}, Counter()
        self.rates, self.rng, self.lock = rates or {}, random.Random(seed), threading.Lock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # or each answer waits 40 ms for the acknowledgement of its head

            def log_message(self, *_):
                pass

            def handle_one(self):
                service.answer(self)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_one  # noqa: N815  the base class calls them so

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # connections that were broken on purpose

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def environment(self):
        """What a client finds the service by."""
        return {
            "AWS_ENDPOINT": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }

    def options(self):
        """The same as options that hold no secret: requests are not signed."""
        return {"endpoint": self.url, "allow_http": True, "region": "us-east-1", "skip_signature": True}

    def upload(self, folder, prefix):
        """Take over the files of a folder, as if another program had copied them."""
        with self.lock:
            for path in folder.rglob("*"):
                if path.is_file():
                    self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", {}, path.read_bytes())

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request):
        parts = urlsplit(request.path)
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        key = unquote(parts.path).removeprefix(f"/{self.bucket}").lstrip("/")
        with self.lock:
            fate = self.fate()
            refused = {"busy": (503, {}, b""), "slow": (503, {"Retry-After": "0"}, SLOW_DOWN), "dropped": (0, {}, b"")}
            status, headers, content = refused.get(fate) or self.handle(request, key, parts.query, body)
            self.counts[request.command] += 1
            self.counts[fate] += 1
        if fate in {"lost", "dropped"}:
            request.close_connection = True
            with contextlib.suppress(OSError):
                request.connection.shutdown(2)
            return
        request.send_response(status)
        length = headers.pop("Content-Length", str(len(content)))
        for name, value in {**headers, "Content-Length": length}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)

    def fate(self):
        """What happens to the next request."""
        drawn = self.rng.random()
        for name, rate in self.rates.items():
            if drawn < rate:
                return name
            drawn -= rate
        return "answered"

    def handle(self, request, key, query, body):
        if request.command == "GET" and not key:
            return 200, {"Content-Type": "application/xml"}, self.listing(parse_qs(query, keep_blank_values=True))
        return getattr(self, request.command.lower())(key, request.headers, body)

    def put(self, key, headers, body):
        self.counts[next((name for name in ("If-None-Match", "If-Match") if name in headers), "unconditional")] += 1
        old = self.objects.get(key)
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        if headers.get("If-None-Match") == "*" and old is not None:
            return self.refusal()
        if (wanted := headers.get("If-Match")) is not None and (old is None or old[1] != wanted):
            return self.refusal() if old is not None else self.nothing(key)
        self.objects[key] = (body, tag)
        return 200, {"ETag": tag}, b""

    def get(self, key, headers, _body):
        if key not in self.objects:
            return self.nothing(key)
        body, tag = self.objects[key]
        about = {"ETag": tag, "Last-Modified": "Sun, 29 Nov 2026 10:00:00 GMT"}
        if wanted := headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start = int(first) if first else max(0, len(body) - int(last))
            stop = min(len(body), int(last) + 1) if first and last else len(body)
            return 206, about | {"Content-Range": f"bytes {start}-{stop - 1}/{len(body)}"}, body[start:stop]
        return 200, about, body

    def head(self, key, headers, body):
        status, about, content = self.get(key, headers, body)
        return status, about | {"Content-Length": str(len(content))}, b""

    def delete(self, key, _headers, _body):
        self.objects.pop(key, None)
        return 204, {}, b""

    def post(self, _key, _headers, body):
        """Remove several objects, which is the only request of this kind."""
        keys = [unescape(key) for key in re.findall(r"<Key>(.*?)</Key>", body.decode())]
        for key in keys:
            self.objects.pop(key, None)
        removed = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        return 200, {"Content-Type": "application/xml"}, f"{XML}<DeleteResult>{removed}</DeleteResult>".encode()

    @staticmethod
    def refusal():
        return 412, {}, f"{XML}<Error><Code>PreconditionFailed</Code></Error>".encode()

    @staticmethod
    def nothing(key):
        return 404, {}, f"{XML}<Error><Code>NoSuchKey</Code><Key>{escape(key)}</Key></Error>".encode()

    def listing(self, query):
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        keys, folders = [], set()
        for key in sorted(key for key in self.objects if key.startswith(prefix)):
            head, mark, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if mark:
                folders.add(f"{prefix}{head}{delimiter}")
            else:
                keys.append(key)
        rows = [
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-29T10:00:00.000Z</LastModified>"
            f"<ETag>{escape(self.objects[key][1])}</ETag><Size>{len(self.objects[key][0])}</Size></Contents>"
            for key in keys
        ]
        rows += [f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in sorted(folders)]
        head = f"<Name>{self.bucket}</Name><Prefix>{escape(prefix)}</Prefix><IsTruncated>false</IsTruncated>"
        return f"{XML}<ListBucketResult>{head}{''.join(rows)}</ListBucketResult>".encode()
