"""The protocols of Google Cloud Storage and of Azure, as far as a store of this package uses them."""

from __future__ import annotations

import itertools
import json
import re
from base64 import b64encode
from urllib.parse import unquote
from xml.sax.saxutils import escape

from tests.services.object_store import XML, ObjectService

MODIFIED = "Sun, 29 Nov 2026 10:00:00 GMT"


class GoogleService(ObjectService):
    """Conditions are on generations: a number that every write makes anew, 0 for what is not there."""

    def __init__(self, rates=None, seed=0):
        super().__init__(rates, seed)
        self.generations = itertools.count(1)

    def environment(self):
        account = {"gcs_base_url": self.url, "disable_oauth": True}
        account |= dict.fromkeys(("client_email", "private_key", "private_key_id"), "secret")
        return {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account)}

    def options(self):
        return {"allow_http": True}

    def put(self, key, headers, body):
        expected = headers.get("x-goog-if-generation-match")
        self.counts[f"if generation {'is 0' if expected == '0' else 'matches' if expected else 'is any'}"] += 1
        if expected is not None and expected != self.objects.get(key, (b"", "0"))[1]:
            return self.refusal()
        generation = f"{next(self.generations)}"
        self.objects[key] = (body, generation)
        return 200, {"ETag": '"same"', "x-goog-generation": generation}, b""

    def get(self, key, headers, body):
        status, about, content = super().get(key, headers, body)
        if "ETag" in about:
            about |= {"x-goog-generation": about["ETag"], "ETag": '"same"'}
        return status, about, content


class AzureService(ObjectService):
    """Conditions are those of HTTP; listings and bulk deletes are Azure's own."""

    def environment(self):
        return {"AZURE_STORAGE_ACCOUNT_KEY": b64encode(b"a secret").decode()}

    def options(self):
        return {"endpoint": self.url, "account_name": "account", "allow_http": True}

    def put(self, key, headers, body):
        assert headers["x-ms-blob-type"] == "BlockBlob"
        status, about, content = super().put(key, headers, body)
        if status == 412 and "If-None-Match" in headers:
            return 409, {}, f"{XML}<Error><Code>BlobAlreadyExists</Code></Error>".encode()
        return (201 if status == 200 else status), about, content

    def get(self, key, headers, body):
        status, about, content = super().get(key, headers, body)
        return status, about | {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}, content

    def delete(self, key, headers, body):
        return 202, super().delete(key, headers, body)[1], b""

    def post(self, _key, headers, body):
        """Remove several objects, in a request of several parts."""
        keys = re.findall(r"DELETE /bucket/(\S+) HTTP", body.decode())
        for key in keys:
            self.objects.pop(unquote(key), None)
        parts = [
            f"--b\r\nContent-Type: application/http\r\nContent-ID: {n}\r\n\r\nHTTP/1.1 202 Accepted\r\n\r\n\r\n"
            for n in range(len(keys))
        ]
        return 202, {"Content-Type": "multipart/mixed; boundary=b"}, f"{''.join(parts)}--b--\r\n".encode()

    def handle(self, request, key, query, body):
        if request.command == "POST":
            return self.post(key, request.headers, body)
        return super().handle(request, key, query, body)

    def listing(self, query):
        plain = super().listing(query).decode()
        keys = re.findall(r"<Contents><Key>(.*?)</Key>.*?<ETag>(.*?)</ETag><Size>(.*?)</Size>", plain)
        folders = re.findall(r"<CommonPrefixes><Prefix>(.*?)</Prefix>", plain)
        blobs = "".join(
            f"<Blob><Name>{key}</Name><Properties><Last-Modified>{MODIFIED}</Last-Modified><Etag>{escape(tag)}</Etag>"
            f"<Content-Length>{size}</Content-Length><Content-Type>application/octet-stream</Content-Type></Properties>"
            "</Blob>"
            for key, tag, size in keys
        )
        blobs += "".join(f"<BlobPrefix><Name>{one}</Name></BlobPrefix>" for one in folders)
        return f"{XML}<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>".encode()
