"""The service itself, by plain HTTP and by the unmodified clients that it stands in for."""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pystac_client
import pytest
import rasterio

from tests.services.child import ROOT
from tests.services.faults import Disorder, FaultPlan, Happening
from tests.services.loopback import Fault
from tests.services.scenes import catalogue, s2_scene
from tests.services.service import Service
from tests.services.service_process import ServiceProcess

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    scenes = [
        s2_scene(f"S2A_{day:02}", f"2022-06-{day:02}T10:00:00", dn=1000 + day, cloud=10.0 * day) for day in range(1, 8)
    ]
    return catalogue(tmp_path_factory.mktemp("catalogue"), *scenes)


@pytest.fixture
def service(root):
    with Service(root, hrefs="local") as running:
        yield running


def get(url, **headers):
    with OPENER.open(urllib.request.Request(url, headers=headers)) as answer:
        return answer.read(), answer


def search(service, **query):
    client = pystac_client.Client.open(service.url)
    return [item["id"] for item in client.search(collections=["sentinel-2-l2a"], **query).items_as_dicts()]


def test_search_by_time_and_place(service):
    assert search(service, datetime="2022-06-02T00:00:00Z/2022-06-03T23:59:59Z") == ["S2A_03", "S2A_02"]
    assert search(service, bbox=[0, 0, 1, 1]) == []
    west, south, east, north = service.api.items[0]["bbox"]
    assert len(search(service, bbox=[east - 1e-4, south, east + 1, north])) == 7
    assert search(service, intersects={"type": "Point", "coordinates": [west - 1, south]}) == []


def test_search_by_property_only_where_the_api_says_that_it_can(service):
    assert search(service, query={"eo:cloud_cover": {"lte": 20}}) == ["S2A_02", "S2A_01"]
    service.api = dataclasses.replace(service.api, supports_query=False)
    assert len(service.api.search({"query": {"eo:cloud_cover": {"lte": 20}}}, base="", method="POST")["features"]) == 7


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pages_are_followed(service, method):
    service.api = dataclasses.replace(service.api, page_size=3)
    client = pystac_client.Client.open(service.url)
    pages = list(client.search(collections=["sentinel-2-l2a"], method=method).pages_as_dicts())
    assert [len(page["features"]) for page in pages] == [3, 3, 1]
    assert service.counts()["search"] == 3


def test_disorder_shuffles_and_repeats(service):
    service.api = dataclasses.replace(service.api, page_size=4, arrange=Disorder(seed=1, repeats=3))
    found = search(service)
    assert len(found) == 10
    assert set(found) == {f"S2A_{day:02}" for day in range(1, 8)}
    assert found != sorted(found, reverse=True)


def test_documents_of_the_api(service):
    assert json.loads(get(f"{service.url}/collections/sentinel-2-l2a")[0])["id"] == "sentinel-2-l2a"
    assert json.loads(get(f"{service.url}/collections/sentinel-2-l2a/items/S2A_01")[0])["id"] == "S2A_01"
    assert len(json.loads(get(f"{service.url}/collections")[0])["collections"]) == 1
    for missing in ("/collections/nothing", "/collections/sentinel-2-l2a/items/nothing", "/nothing"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(service.url + missing)


def test_blobs_by_range(service):
    href = service.api.items[0]["assets"]["B04"]["href"]
    whole, _ = get(href)
    part, answer = get(href, Range="bytes=10-19")
    assert part == whole[10:20]
    assert answer.status == 206
    assert answer.headers["Content-Range"] == f"bytes 10-19/{len(whole)}"
    assert get(href, Range="bytes=-5")[0] == whole[-5:]
    with pytest.raises(urllib.error.HTTPError, match="416"):
        get(href, Range=f"bytes={len(whole)}-")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(href + "x")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(href.rpartition("blobs/")[0] + "blobs/../items.json")
    assert service.counts() == {"whole": 1, "range": 2, "range 416": 1, "whole 404": 2}
    assert service.bytes_sent() > len(whole)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (Fault(status=503), urllib.error.HTTPError),
        (Fault(status=429, retry_after_s=2), urllib.error.HTTPError),
        (Fault(keep_bytes=3), http.client.IncompleteRead),
        (Fault(reset=True), ConnectionError),
    ],
)
def test_faults_happen_as_often_as_they_are_meant_to(service, fault, problem):
    service.rule = FaultPlan([Happening(fault, times=2)])
    href = service.api.items[0]["assets"]["B04"]["href"]
    for _ in range(2):
        with pytest.raises(problem):
            get(href, Range="bytes=0-99")
    assert len(get(href, Range="bytes=0-99")[0]) == 100


SDK = """
import json, sys, warnings
warnings.simplefilter("ignore")
import planetary_computer, pystac_client, rasterio
client = pystac_client.Client.open(sys.argv[1], modifier=planetary_computer.sign_inplace)
item = next(client.search(collections=["sentinel-2-l2a"], max_items=1).items_as_dicts())
with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(item["assets"]["B04"]["href"]) as file:
    print(json.dumps([item["assets"]["B04"]["href"], int(file.read(1)[0, 0])]))
"""


def test_the_unmodified_sdk_and_gdal_read_from_it(root):
    with ServiceProcess(root) as service:
        environment = {**os.environ, **service.environment()}
        done = subprocess.run(
            [sys.executable, "-c", SDK, service.url],
            env=environment,
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        href, value = json.loads(done.stdout)
        assert href.startswith("http://rsembeddemo.blob.core.windows.net/sentinel-2-l2a/S2A_07/B04.tif?st=")
        assert value == 1007
        counts = service.counts()
        assert counts["token"] == 1
        assert counts["head"] == 1
        assert not [kind for kind in counts if kind[-3:] in {"403", "404", "409"}]


def test_signatures_are_checked(root):
    with Service(root, token_ttl_s=-1) as service:
        href = service.api.items[0]["assets"]["B04"]["href"]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": f"http://127.0.0.1:{service.port}"}))
        with pytest.raises(urllib.error.HTTPError, match="409"):
            opener.open(href)
        token = json.loads(get(f"{service.token_url}/rsembeddemo/sentinel-2-l2a")[0])["token"]
        for bad in (token, token.replace("sig=", "sig=x")):
            with pytest.raises(urllib.error.HTTPError, match="403"):
                opener.open(f"{href}?{bad}")


def test_a_process_obeys_and_ends_with_its_input(root):
    service = ServiceProcess(root, hrefs="local")
    service.faults({"fault": {"status": 429}, "kinds": ["landing"], "times": 1})
    with pytest.raises(urllib.error.HTTPError, match="429"):
        get(service.url)
    service.tell(page_size=2)
    service.tell(disorder={"seed": 1})
    assert len(json.loads(get(f"{service.url}/search?collections=sentinel-2-l2a")[0])["features"]) == 2
    assert service.counts() == {"landing 429": 1, "search": 1}
    assert [call["kind"] for call in service.calls()] == ["landing", "search"]
    service.forget()
    assert service.counts() == {}
    service.close()
    with pytest.raises(OSError, match="refused"):
        get(service.url)


def test_cogs_hold_what_was_written(root):
    path = next((root / "blobs").rglob("S2A_03/B04.tif"))
    with rasterio.open(path) as file:
        assert file.crs.to_epsg() == 32631
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        np.testing.assert_array_equal(file.read(1), np.full((120, 120), 1003))
