"""How single files are reached: signed, retried, counted and quiet (R14, R20-R26)."""

from __future__ import annotations

import datetime as dt
import logging
import pickle
import threading
import time
import traceback

import numpy as np
import pytest

from rs_embed_dask.errors import AccessError, ProviderError, TransientError
from rs_embed_dask.providers import geotiff, http, retry
from rs_embed_dask.providers.geotiff import open_geotiff
from rs_embed_dask.providers.http import Access, PlanetaryComputerTokens, read_range
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.providers.stac.read import labelled
from tests.services.faults import BUSY, FaultPlan, Happening
from tests.services.fixtures import forget_heads
from tests.services.loopback import Fault
from tests.services.scenes import layer, s2_scene

HASTE = RetryPolicy(attempts=4, first_wait_s=0.01, longest_wait_s=0.5, longest_asked_s=0.5)
SIGNED = Access(PlanetaryComputerTokens(), HASTE)
PLAIN = Access(retry=HASTE)


def b04(service):
    item = service.api.items[0]
    return labelled(item["assets"]["B04"]["href"], f"asset B04 of item {item['id']}")


def pixels(href, access, *, rows=(10, 14)):
    return open_geotiff(href, access=access).read(1, rows, (20, 25), access=access)


NOISE = np.random.default_rng(0).integers(1, 60_000, (1200, 1200))
"""Noise does not compress: the file is larger than what the first request brings."""


def noisy(name="S2A_1"):
    return s2_scene(name, "2022-06-01T10:00:00", bands=("B02",), layers=[layer("B04", NOISE)])


def test_r26_two_requests_a_block_and_one_token(azure, monkeypatch):
    service = azure(noisy())
    monkeypatch.setattr(geotiff, "worthwhile_gap", lambda href: 0)
    got = pixels(b04(service), SIGNED)
    np.testing.assert_array_equal(got, NOISE[10:14, 20:25])
    assert service.counts() == {"token": 1, "range": 2}
    pixels(b04(service), SIGNED, rows=(500, 530))  # two rows of blocks; the head is known by now
    assert service.counts() == {"token": 1, "range": 4}
    monkeypatch.setattr(geotiff, "worthwhile_gap", lambda href: 2**21)
    np.testing.assert_array_equal(pixels(b04(service), SIGNED, rows=(510, 520)), NOISE[510:520, 20:25])
    assert service.counts() == {"token": 1, "range": 5}  # what lies between the rows was read too


def test_r26_a_small_file_is_one_request(azure):
    service = azure(s2_scene("S2A_1", "2022-06-01T10:00:00", dn=1234))
    assert np.unique(pixels(b04(service), SIGNED)).tolist() == [1234]
    assert service.counts() == {"token": 1, "range": 1}


@pytest.mark.parametrize(
    "fault",
    [
        BUSY,
        Fault(status=429, retry_after_s=0.02),
        Fault(status=500),
        Fault(reset=True),
        Fault(keep_bytes=1000),
        Fault(keep_bytes=0),
    ],
    ids=["503", "429", "500", "reset", "short body", "no body"],
)
def test_r24_passing_faults_give_the_same_pixels(azure, fault):
    service = azure(noisy(), rule=FaultPlan([Happening(fault, times=3)]))
    np.testing.assert_array_equal(pixels(b04(service), SIGNED), NOISE[10:14, 20:25])
    assert sum(n for kind, n in service.counts().items() if kind.startswith("range")) == 5


def test_r24_a_long_outage_is_a_transient_error_and_over_when_it_is_over(azure):
    service = azure(noisy(), rule=FaultPlan([Happening(BUSY)]))
    with pytest.raises(TransientError, match=r"asset B04 of item S2A_1.*answered 503, after 4 attempts"):
        pixels(b04(service), SIGNED)
    assert service.counts()["range 503"] == 4
    service.rule = None
    np.testing.assert_array_equal(pixels(b04(service), SIGNED), NOISE[10:14, 20:25])


def test_r24_a_wait_beyond_patience_is_left_to_the_caller(azure, monkeypatch):
    service = azure(noisy(), rule=FaultPlan([Happening(Fault(status=429, retry_after_s=23))]))
    waits = []
    monkeypatch.setattr(retry, "sleep", waits.append)
    with pytest.raises(TransientError) as caught:
        pixels(b04(service), SIGNED)
    assert caught.value.retry_after_s == 23
    assert waits == []
    assert service.counts()["range 429"] == 1


def test_r24_waits_double_and_spread():
    retry = RetryPolicy(first_wait_s=1, longest_wait_s=5)
    for attempt, whole in enumerate((1, 2, 4, 5, 5), 1):
        waits = [retry.wait_s(attempt) for _ in range(200)]
        assert whole / 2 <= min(waits) < max(waits) <= whole
        assert len(set(waits)) > 100


def test_r25_a_missing_file_names_item_and_asset(azure):
    service = azure(noisy())
    (service.root / "blobs" / b04(service).removeprefix("http://").partition("#")[0]).unlink()
    with pytest.raises(ProviderError, match=r"asset B04 of item S2A_1 = 'http://.*B04.tif'.*404"):
        pixels(b04(service), SIGNED)
    assert service.counts() == {"token": 1, "range 404": 1}


def test_r21_no_signature_in_errors_pickles_or_logs(azure, caplog):
    caplog.set_level(logging.DEBUG)
    service = azure(noisy())
    texts = []
    for fault in (
        BUSY,
        Fault(reset=True),
        Fault(keep_bytes=5),
        Fault(status=404),
        Fault(status=403),
        Fault(status=400),
    ):
        service.rule = FaultPlan([Happening(fault)])
        with pytest.raises(ProviderError) as caught:
            pixels(b04(service), SIGNED)
        error = caught.value
        texts += ["".join(traceback.format_exception(error)), repr(vars(error)), repr(pickle.dumps(error))]
        assert error.__cause__ is None
        assert error.__context__ is None
    service.rule = None
    opened = open_geotiff(b04(service), access=SIGNED)
    opened.read(1, (0, 5), (0, 5), access=SIGNED)
    texts += [repr(opened), repr(SIGNED), repr(pickle.dumps(SIGNED)), caplog.text]
    assert "B04.tif" in caplog.text
    assert not [text for text in texts if "sig=" in text or "se=20" in text]


def test_r22_a_run_outlives_its_tokens(azure):
    service = azure(noisy(), token_ttl_s=2)
    for _ in range(5):
        np.testing.assert_array_equal(pixels(b04(service), SIGNED), NOISE[10:14, 20:25])
        time.sleep(0.7)
    assert service.counts()["range"] == 6
    assert 2 <= service.counts()["token"] <= 4
    assert not [kind for kind in service.counts() if kind.endswith("403")]


def test_r22_a_refused_token_is_replaced_once(azure):
    service = azure(noisy(), rule=FaultPlan([Happening(Fault(status=403), times=1)]))
    np.testing.assert_array_equal(pixels(b04(service), SIGNED), NOISE[10:14, 20:25])
    assert service.counts() == {"token": 2, "range 403": 1, "range": 2}


def test_r22_freshness_is_judged_by_the_expiry_in_the_token():
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    hour = http._Token("", now + dt.timedelta(hours=1), now)
    assert hour.fresh(now + dt.timedelta(minutes=58))
    assert not hour.fresh(now + dt.timedelta(minutes=59, seconds=1))
    short = http._Token("", now + dt.timedelta(seconds=10), now)
    assert short.fresh(now + dt.timedelta(seconds=8))
    assert not short.fresh(now + dt.timedelta(seconds=9.1))


def test_r22_the_earlier_of_two_stated_expiries_counts():
    class Answer:
        expiry = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
        token = "st=2025-12-31T10%3A00%3A00Z&se=2026-01-01T11%3A00%3A00Z&sig=x"

    assert http._expiry(Answer()) == dt.datetime(2026, 1, 1, 11, tzinfo=dt.UTC)


def test_r23_many_threads_ask_for_one_token(azure):
    service = azure(noisy(), rule=FaultPlan([Happening(Fault(delay_s=0.2), kinds=("token",))]))
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(pixels(b04(service), SIGNED))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 16
    assert service.counts()["token"] == 1


def test_r23_the_issuers_wait_is_kept(azure):
    busy = Fault(status=429, retry_after_s=1, body=b'{"message": "Rate limit is exceeded. Try again in 1 seconds."}')
    service = azure(noisy(), rule=FaultPlan([Happening(busy, kinds=("token",), times=1)]))
    started = time.monotonic()
    np.testing.assert_array_equal(pixels(b04(service), SIGNED), NOISE[10:14, 20:25])
    assert time.monotonic() - started >= 1
    assert service.counts() == {"token 429": 1, "token": 1, "range": 2}


def test_r23_threads_that_waited_share_a_failure(azure, monkeypatch):
    monkeypatch.setattr(http, "TOKEN_RETRY", RetryPolicy(attempts=1))
    service = azure(noisy(), rule=FaultPlan([Happening(Fault(delay_s=1.0, status=503), kinds=("token",))]))
    seen, together = [], threading.Barrier(8, timeout=20)

    def attempt():
        together.wait()
        try:
            pixels(b04(service), SIGNED)
        except TransientError as error:
            seen.append(str(error))

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert len(set(seen)) == 1
    assert service.counts() == {"token 503": 1}
    service.rule = None
    pixels(b04(service), SIGNED)
    assert service.counts()["token"] == 1


@pytest.mark.parametrize("status", [401, 403])
def test_r13_a_refusing_issuer_is_an_access_error_that_says_what_to_do(azure, status):
    service = azure(noisy(), rule=FaultPlan([Happening(Fault(status=status), kinds=("token",))]))
    with pytest.raises(
        AccessError, match=rf"rsembeddemo/sentinel-2-l2a.*answered {status}.*planetarycomputer configure"
    ):
        pixels(b04(service), SIGNED)
    with pytest.raises(AccessError):  # a refusal lasts: the issuer is not asked again for every file
        pixels(b04(service), SIGNED)
    assert service.counts() == {f"token {status}": 1}


def test_r13_a_refusing_storage_is_an_access_error_too(azure):
    service = azure(noisy(), rule=FaultPlan([Happening(Fault(status=403))]))
    with pytest.raises(AccessError, match=r"asset B04 of item S2A_1.*answered 403.*account"):
        pixels(b04(service), SIGNED)
    assert service.counts() == {"token": 2, "range 403": 2}


def test_unsigned_links_to_a_signed_storage_say_so(azure):
    service = azure(noisy())
    with pytest.raises(AccessError, match=r"answered 409.*planetary_computer"):
        pixels(b04(service), PLAIN)


def test_an_issuer_that_is_not_there_is_transient(new_process, monkeypatch):
    monkeypatch.setenv("PC_SDK_SAS_URL", "http://127.0.0.1:9/token")
    monkeypatch.setattr(http, "TOKEN_RETRY", RetryPolicy(attempts=1))
    with pytest.raises(TransientError, match="token for container"):
        SIGNED.signer.sign("http://somewhere.blob.core.windows.net/things/a.tif")


def test_only_blob_links_without_a_signature_are_signed():
    signer = PlanetaryComputerTokens()
    for href in (
        "https://example.org/a.tif",
        "https://ai4edatasetspublicassets.blob.core.windows.net/assets/a.png",
        "https://somewhere.blob.core.windows.net/things/a.tif?se=2030&sig=x",
    ):
        assert signer.sign(href) == href


def test_files_that_change_are_read_anew(plain):
    service = plain(noisy())
    href = b04(service)
    opened = open_geotiff(href, access=PLAIN)
    path = service.root / "blobs" / href.partition("/blobs/")[2].partition("#")[0]
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(TransientError, match="changed while it was read"):
        opened.read(1, (10, 14), (20, 25), access=PLAIN)
    np.testing.assert_array_equal(pixels(href, PLAIN), NOISE[10:14, 20:25])


def test_a_server_without_ranges_is_read_too(plain, monkeypatch):
    service = plain(noisy())
    answer = service.answer
    monkeypatch.setattr(service, "answer", lambda call: answer(type(call)(**{**vars(call), "byte_range": None})))
    np.testing.assert_array_equal(pixels(b04(service), PLAIN), NOISE[10:14, 20:25])


def test_heads_are_kept_between_reads(plain):
    service = plain(noisy())
    for _ in range(3):
        pixels(b04(service), PLAIN)
    assert service.counts()["range"] == 4  # one head, three blocks
    forget_heads()
    pixels(b04(service), PLAIN)
    assert service.counts()["range"] == 6


def test_local_files_and_other_schemes(tmp_path):
    with pytest.raises(ProviderError, match="no such file"):
        read_range(str(tmp_path / "a.tif"), 0, 10, access=PLAIN)
    with pytest.raises(ProviderError, match=r"cannot read s3:// addresses"):
        read_range("s3://bucket/a.tif", 0, 10, access=PLAIN)
    (tmp_path / "a.tif").write_bytes(b"no tiff at all, but text")
    with pytest.raises(ProviderError, match=r"begins with b'no t', which is not a TIFF"):
        open_geotiff(f"file://{tmp_path}/a.tif", access=PLAIN)
