"""Links into private buckets: signed by the reader with the credentials of its environment, and never told."""

from __future__ import annotations

import json
import logging
import pickle
import socket
import urllib.request
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from rs_embed_dask.errors import AccessError, ProviderError, SpecError
from rs_embed_dask.providers import buckets, http, load, open_provider, signing
from rs_embed_dask.providers.http import Access, PlainLinks, read_range
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.providers.signing import BucketLinks
from rs_embed_dask.providers.stac.planetary_computer import PlanetaryComputer
from rs_embed_dask.providers.stac.provider import StacProvider
from tests.services.private_bucket import KEY_ID, REGION, SECRET, PrivateBucket
from tests.services.reads import read
from tests.services.scenes import grid, layer, s2_scene

NOISE = np.random.default_rng(7).integers(1, 9000, (120, 120))
SCENE = s2_scene("a", "2022-06-05T10:00:00", bands=(), scl=None, layers=[layer("B04", NOISE)])
READ = read("red", where=grid(size=40), mask="none")
HASTE = RetryPolicy(attempts=2, first_wait_s=0.01, longest_wait_s=0.05)


@pytest.fixture
def bucket(monkeypatch):
    """A private bucket, at which the environment of this process points."""
    service = PrivateBucket()
    for name, value in service.environment().items():
        monkeypatch.setenv(name, value)
    signing._opened.cache_clear()
    monkeypatch.setattr(buckets, "_REGIONS", {})
    yield service
    signing._opened.cache_clear()
    service.close()


def moved(item):
    for asset in item["assets"].values():
        asset["href"] = asset["href"].replace("blob:", f"s3://{PrivateBucket.bucket}/")


def private(plain, bucket, **options):
    """A provider whose catalogue names objects of the private bucket."""
    service = plain(SCENE, edit=moved)
    bucket.upload(service.root / "blobs", "")
    bucket.objects = {key.lstrip("/"): value for key, value in bucket.objects.items()}
    return StacProvider(service.url, source="planetary_computer", retry=HASTE, **options)


def test_the_pixels_of_a_private_bucket_are_those_of_a_public_one(plain, bucket):
    expected = load(StacProvider(plain(SCENE).url, source="planetary_computer"), READ)
    got = load(private(plain, bucket, credentials="environment"), READ)
    np.testing.assert_array_equal(got.values, expected.values)
    assert np.unique(got.values).size > 1000
    assert bucket.counts["signed"] == bucket.counts["GET"] > 0


def test_an_unsigned_request_is_refused_by_the_bucket(bucket):
    bucket.put("a.tif", {}, b"0123456789")
    with pytest.raises(HTTPError, match="403"):
        urllib.request.urlopen(f"{bucket.url}/bucket/a.tif")
    assert read_range(over("a.tif"), 2, 3, access=signed()).data == b"234"
    assert (bucket.counts["unsigned"], bucket.counts["signed"]) == (1, 1)


def over(key):
    return buckets.over_http(f"s3://{PrivateBucket.bucket}/{key}")


def signed():
    return Access(BucketLinks(PlainLinks()), HASTE, "https://catalogue.example")


@pytest.mark.parametrize("key", ["a b#1.tif", "a%20b.tif", "ä+b~(1)/T31,x=y&z.tif"])
def test_keys_with_signs_are_signed_as_they_are(bucket, key):
    bucket.put(key, {}, b"0123456789")
    assert read_range(over(key), 0, 4, access=signed()).data == b"0123"


def test_a_key_that_cannot_be_signed_is_refused(bucket):
    with pytest.raises(ProviderError, match=r"s3://bucket = 'a//b.tif': a link to this key cannot be signed"):
        read_range(over("a//b.tif"), 0, 4, access=signed())


def test_a_bucket_in_another_region_is_found_once(bucket, monkeypatch):
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    bucket.put("a.tif", {}, b"0123456789")
    for start in (0, 5):
        assert read_range(over("a.tif"), start, 1, access=signed()).data == str(start).encode()
    assert (bucket.counts["elsewhere"], bucket.counts["signed"]) == (1, 2)
    assert buckets.region_of("bucket") == REGION


WHAT_TO_SET = (
    "Fix: if its bucket is private, set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION on every worker, and "
    "pass credentials='environment'."
)


@pytest.mark.parametrize("status", [403, 401])
def test_a_refusal_without_credentials_says_what_to_set(monkeypatch, status):
    monkeypatch.setattr(http, "_get", lambda *_, **__: http.Answer(status, {}, b"", is_cut=False))
    with pytest.raises(AccessError) as caught:
        read_range(over("a.tif"), 0, 1, access=Access(retry=HASTE))
    expected = f"file = 'https://bucket.s3.amazonaws.com/a.tif': the storage answered {status}. {WHAT_TO_SET}"
    assert str(caught.value) == expected
    with pytest.raises(
        AccessError, match=r"set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account on"
    ):
        read_range(buckets.over_http("gs://bucket/a.tif"), 0, 1, access=Access(retry=HASTE))
    with pytest.raises(AccessError, match=r"use a catalogue whose files are public"):
        read_range("https://host.example/a.tif", 0, 1, access=Access(retry=HASTE))


@pytest.mark.parametrize("status", [400, 403])
def test_credentials_that_are_refused_say_what_to_set(bucket, monkeypatch, status):
    monkeypatch.setattr(bucket, "handle", lambda *_: (status, {}, b"<Code>ExpiredToken</Code>"))
    with pytest.raises(AccessError, match=rf"answered {status}\. Fix: if its bucket is private, set AWS_ACCESS_KEY_ID"):
        read_range(over("a.tif"), 0, 1, access=signed())


def test_new_credentials_replace_refused_ones(bucket, monkeypatch):
    bucket.put("a.tif", {}, b"0123456789")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "old")
    with pytest.raises(AccessError):
        read_range(over("a.tif"), 0, 1, access=signed())
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert read_range(over("a.tif"), 0, 1, access=signed()).data == b"0"
    assert (bucket.counts["wrong"], bucket.counts["signed"]) == (2, 1)


def test_an_environment_without_credentials_is_said_in_one_sentence(bucket, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        with pytest.raises(AccessError) as caught:
            read_range(over("a.tif"), 0, 1, access=signed())
    reason = "the environment holds no credentials that can sign (GenericError)"
    assert str(caught.value) == f"s3://bucket: {reason}. {WHAT_TO_SET}"


def test_google_storage_is_signed_with_the_key_of_a_service_account(tmp_path, monkeypatch):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    facts = {"type": "service_account", "private_key": key.private_bytes(*form).decode(), "private_key_id": "1"}
    facts |= {"client_email": "reader@example.iam", "token_uri": "https://oauth2.googleapis.com/token"}
    path = tmp_path / "key.json"
    path.write_text(json.dumps(facts))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    signing._opened.cache_clear()
    url = urlsplit(BucketLinks(PlainLinks()).sign(buckets.over_http("gs://some-bucket/a b.tif")))
    assert (url.scheme, url.netloc, url.path) == ("https", "storage.googleapis.com", "/some-bucket/a%20b.tif")
    stated = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert stated["X-Goog-Credential"].startswith("reader@example.iam/")
    query = url.query.partition("&X-Goog-Signature=")[0]
    request = f"GET\n{url.path}\n{query}\nhost:storage.googleapis.com\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashes.Hash(hashes.SHA256())
    digest.update(request.encode())
    scope = stated["X-Goog-Credential"].partition("/")[2]
    text = f"GOOG4-RSA-SHA256\n{stated['X-Goog-Date']}\n{scope}\n{digest.finalize().hex()}"
    key.public_key().verify(
        bytes.fromhex(stated["X-Goog-Signature"]), text.encode(), padding.PKCS1v15(), hashes.SHA256()
    )


def test_other_links_are_not_signed(bucket, azure):
    links = BucketLinks(PlainLinks())
    for href in (
        "https://host.example/a.tif",
        "https://bucket.s3.eu-central-1.amazonaws.com/a.tif",
        "https://bucket.s3.amazonaws.com/a.tif?versionId=3",
        "https://bucket.s3.amazonaws.com.evil.example/a.tif",
        "http://bucket.s3.amazonaws.com/a.tif",
    ):
        assert links.sign(href) == href
    service = azure(SCENE)
    got = load(PlanetaryComputer(service.url, credentials="environment"), READ)
    np.testing.assert_array_equal(got.values[0, 0], NOISE[20:60, 20:60])
    assert service.counts()["token"] == 1
    assert not bucket.counts


def test_nothing_that_travels_or_is_told_holds_the_credentials(plain, bucket, caplog):
    caplog.set_level(logging.DEBUG)
    provider = private(plain, bucket, credentials="environment")
    cube = provider.cube(READ)
    texts = [repr(provider), json.dumps(provider.describe()), pickle.dumps((provider, cube)).decode("latin-1")]
    cube.load()
    texts += [pickle.dumps(cube).decode("latin-1"), repr(cube)]
    bucket.objects.clear()
    bucket.put("x", {}, b"")
    with pytest.raises(ProviderError, match="answered 404") as caught:
        read_range(over("gone.tif"), 0, 1, access=signed())
    texts += [str(caught.value), repr(caught.value), *caplog.messages]
    assert bucket.counts["signed"]
    for text in texts:
        assert not any(secret in text for secret in (SECRET, KEY_ID, "X-Amz-"))
    again = open_provider(provider.describe())
    assert again == provider
    assert again.credentials == "environment"


@pytest.mark.parametrize("value", [SECRET, {"key": SECRET}, True])
def test_only_kinds_of_credentials_are_taken_and_keys_are_not_shown(value):
    with pytest.raises(SpecError, match=r"StacProvider.credentials.*pass credentials='environment'") as caught:
        StacProvider("https://example.org", credentials=value)
    assert SECRET not in str(caught.value)
