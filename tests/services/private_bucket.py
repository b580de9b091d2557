"""A private bucket of the S3 protocol on this machine: what its one key did not sign, for its region, is refused."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import parse_qsl, quote, urlsplit

from tests.services.object_store import ObjectService

KEY_ID, SECRET, REGION = "AKIAEXAMPLEKEYID0000", "verySecretAccessKey0000/example+secret00", "eu-central-1"


class PrivateBucket(ObjectService):
    """Checks signatures of version 4 in the query, as S3 does; refers requests for another region to its own."""

    def environment(self, secret=SECRET, region=REGION):
        return super().environment() | {
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": region,
        }

    def handle(self, request, key, query, body):
        stated = dict(parse_qsl(query))
        scope = stated.get("X-Amz-Credential", "").split("/")
        if scope[0] != KEY_ID:
            return self.denied("unsigned")
        if scope[2] != REGION:
            self.counts["elsewhere"] += 1
            return 301, {"x-amz-bucket-region": REGION}, b""
        if not hmac.compare_digest(stated["X-Amz-Signature"], signature(request, stated)):
            return self.denied("wrong")
        self.counts["signed"] += 1
        return super().handle(request, key, "", body)

    def denied(self, why):
        self.counts[why] += 1
        return 403, {}, b"<Error><Code>AccessDenied</Code></Error>"


def signature(request, stated):
    """The signature that a request should carry, after AWS's description of version 4."""
    signed = {name: value for name, value in stated.items() if name != "X-Amz-Signature"}
    query = "&".join(f"{quote(name, safe='')}={quote(signed[name], safe='')}" for name in sorted(signed))
    host = f"host:{request.headers['Host']}\n"
    canonical = f"{request.command}\n{urlsplit(request.path).path}\n{query}\n{host}\nhost\nUNSIGNED-PAYLOAD"
    scope = stated["X-Amz-Credential"].partition("/")[2]
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{stated['X-Amz-Date']}\n{scope}\n{digest}"
    key = f"AWS4{SECRET}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()
