"""Assets as catalogues name and describe them: bands by what is said of them, formats by content, buckets by HTTPS."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rs_embed_dask.errors import ProviderError
from rs_embed_dask.imagery.sensors import sensor
from rs_embed_dask.providers import buckets, load, load_all
from rs_embed_dask.providers.buckets import over_http, regional
from rs_embed_dask.providers.stac.assets import format_of
from rs_embed_dask.providers.stac.bands import BandFacts, band_facts, band_of
from rs_embed_dask.providers.stac.items import Asset, parse_item
from rs_embed_dask.providers.stac.provider import StacProvider
from tests.services.loopback import LOCAL_BLOBS
from tests.services.reads import only, provider, read
from tests.services.scenes import flat, grid, layer, s2_scene

DN = {"B02": 1000, "B03": 1100, "B04": 1200, "B05": 1300, "B06": 1400, "B08": 1500, "B8A": 1600}
FACTS = {
    "B02": ("blue", 0.49),
    "B03": ("green", 0.56),
    "B04": ("red", 0.665),
    "B05": ("rededge", 0.705),
    "B06": ("rededge", 0.74),
    "B08": ("nir", 0.842),
    "B8A": ("nir08", 0.865),
}
SMALL = grid(size=10)
ONE = {"bands": ("B04",), "scl": None}


def described(say):
    """Rename the assets of an item to names that say nothing; `say` writes down what is known of each band."""

    def edit(item):
        for number, band in enumerate(DN):
            asset = item["assets"].pop(band)
            item["assets"][f"file_{number}"] = asset
            asset.update(say(band, *FACTS[band]))
        item["properties"]["eo:bands"] = [
            {"name": band, "common_name": common, "center_wavelength": um} for band, (common, um) in FACTS.items()
        ]

    return edit


SAID = {
    "eo:bands in full": lambda name, common, um: {
        "eo:bands": [{"name": name, "common_name": common, "center_wavelength": um}]
    },
    "eo:bands with names only": lambda name, common, um: {"eo:bands": [{"name": name.replace("B0", "B")}]},
    "eo:bands with wavelengths only": lambda name, common, um: {"eo:bands": [{"center_wavelength": um}]},
    "wavelengths in nanometres": lambda name, common, um: {"eo:bands": [{"center_wavelength": 1000 * um}]},
    "names of another kind": lambda name, common, um: {
        "eo:bands": [{"name": f"layer of {um}", "common_name": common, "center_wavelength": um}]
    },
    "bands of STAC 1.1": lambda name, common, um: {
        "bands": [{"name": name, "eo:common_name": common, "eo:center_wavelength": um}]
    },
    "bands of STAC 1.1, facts at the asset": lambda name, common, um: {
        "eo:common_name": common,
        "eo:center_wavelength": um,
        "bands": [{}],
    },
    "facts at the asset alone": lambda name, common, um: {"eo:common_name": common, "eo:center_wavelength": um},
    "numbers of the item's bands": lambda name, common, um: {"eo:bands": [list(FACTS).index(name)]},
}


@pytest.mark.parametrize("say", SAID.values(), ids=SAID)
def test_unknown_names_are_matched_by_what_is_said_of_the_bands(plain, say):
    service = plain(s2_scene("a", "2022-06-05T10:00:00", dn=DN, bands=tuple(DN), scl=None), edit=described(say))
    got = load(provider(service), read(*DN, where=SMALL, mask="none"))
    assert [only(got.values[0, i]) for i in range(len(DN))] == list(DN.values())
    assert got.scenes == ("a",)


def test_a_file_with_several_bands_is_matched_band_by_band(plain):
    image = layer("image", np.stack([np.full((120, 120), DN[band]) for band in ("B04", "B03", "B02", "B08")]))
    facts = [{"common_name": common} for common in ("red", "green", "blue", "nir")]
    scene = s2_scene("a", "2022-06-05T10:00:00", bands=(), scl=None, layers=[image])
    service = plain(scene, edit=lambda item: item["assets"]["image"].update({"eo:bands": facts}))
    got = load(provider(service), read("nir", "blue", "red", where=SMALL, mask="none"))
    assert [only(got.values[0, i]) for i in range(3)] == [1500, 1000, 1200]


PICTURES = {
    "three visible bands": {"eo:bands": [{"common_name": name} for name in ("red", "green", "blue")]},
    "a role": {"eo:bands": [{"common_name": "red"}], "roles": ["visual"]},
}


@pytest.mark.parametrize("fields", PICTURES.values(), ids=PICTURES)
def test_a_picture_is_not_a_measurement(plain, fields):
    image = layer("TCI", np.full((3, 120, 120), 90), dtype="uint8")
    scene = s2_scene("a", "2022-06-05T10:00:00", bands=(), scl=None, layers=[image])
    service = plain(scene, edit=lambda item: item["assets"]["TCI"].update(fields))
    line = r"band red of sentinel-2-l2a = 'B04': no item, such as a, has this asset; there are TCI\."
    with pytest.raises(ProviderError, match=line):
        load(provider(service), read(where=SMALL, mask="none"))


def variants(*sizes):
    """A red band in files of several sizes of pixels, as one catalogue lists it; the coarser have other numbers."""
    layers = [flat(f"B04_{size}m{n}", 1200 + size, pixel=float(size)) for n, size in enumerate(sizes)]

    def edit(item):
        for asset, size in zip(item["assets"].values(), sizes, strict=True):
            asset.update({"eo:bands": [{"name": "B04", "common_name": "red"}], "gsd": size})

    return s2_scene("a", "2022-06-05T10:00:00", bands=(), scl=None, layers=layers), edit


def test_the_finest_of_several_files_counts(plain):
    scene, edit = variants(20, 10, 60)
    assert only(load(provider(plain(scene, edit=edit)), read(where=SMALL, mask="none")).values) == 1210


def test_of_two_files_that_are_alike_none_is_chosen(plain):
    scene, edit = variants(10, 10)
    service = plain(scene, edit=edit)
    with pytest.raises(ProviderError, match=r"no item, such as a, has this asset; there are B04_10m0, B04_10m1\."):
        load(provider(service), read(where=SMALL, mask="none"))
    assert only(load(provider(service, assets={"red": "B04_10m1"}), read(where=SMALL, mask="none")).values) == 1210


@pytest.mark.parametrize(
    ("facts", "of", "band"),
    [
        (BandFacts("B8A"), "s2", "nir08"),
        (BandFacts("B8A", "nir"), "s2", None),  # they contradict each other
        (BandFacts("B04", "red", 0.49), "s2", None),
        (BandFacts("B04", "red", 0.66), "s2", "red"),
        (BandFacts("", "", 0.842), "s2", "nir"),
        (BandFacts("", "", 0.849), "s2", None),  # between two bands
        (BandFacts("", "", 1.0), "s2", None),
        (BandFacts("", "rededge", 0.783), "s2", "rededge3"),
        (BandFacts("", "rededge"), "s2", None),
        (BandFacts("TCI", "", None), "s2", None),
        (BandFacts(), "s2", None),
        (BandFacts("OLI_B5", "nir08", 0.87), "landsat-c2-l2", "nir08"),
        (BandFacts("", "nir"), "landsat-c2-l2", "nir08"),
        (BandFacts("B10", "lwir11", 10.9), "landsat-c2-l2", "lwir11"),
        (BandFacts("VV"), "s1", "vv"),
    ],
)
def test_a_band_is_what_all_facts_agree_on(facts, of, band):
    assert band_of(facts, sensor(of)) == band


@pytest.mark.parametrize("stated", [None, {}, "red", [], [None], [7], [{"center_wavelength": "red", "name": None}]])
def test_facts_that_say_nothing_are_none(stated):
    assert all(facts == BandFacts() for facts in band_facts({"eo:bands": stated}, {"eo:bands": None}))


def test_a_band_that_no_item_has_is_an_error_that_says_what_there_is(plain):
    service = plain(s2_scene("a", "2022-06-05T10:00:00", dn=DN, bands=("B03", "B04"), scl=None))
    mine = StacProvider(service.url)  # Earth Search's names
    line = (
        r"^band red of sentinel-2-l2a = 'red': no item, such as a, has this asset; there are B03, B04\. "
        r"Fix: pass assets=\{'red': 'B04'\}"
    )
    with pytest.raises(ProviderError, match=line):
        load(mine, read("red", where=SMALL, mask="none"))
    assert only(load(StacProvider(service.url, assets={"red": "B04"}), read(where=SMALL, mask="none")).values) == 1200


def test_the_other_reads_of_the_place_are_served(plain):
    service = plain(s2_scene("a", "2022-06-05T10:00:00", dn=DN, bands=("B04",), scl=None))
    reads = [read(*bands, where=SMALL, mask="none") for bands in (("red",), ("blue",), ("blue", "red"))]
    red, *faults = load_all(provider(service), reads)
    assert only(red.values) == 1200
    assert [str(fault)[:32] for fault in faults] == ["band blue of sentinel-2-l2a = 'B"] * 2


def test_the_layer_of_a_mask_may_have_another_name(plain):
    cloudy = np.full((60, 60), 4)
    cloudy[15:20] = 9
    layers = [layer("SCL_20m", cloudy, pixel=20.0, dtype="uint8")]
    service = plain(s2_scene("a", "2022-06-05T10:00:00", bands=("B04",), scl=None, layers=layers))
    with pytest.raises(ProviderError, match=r"has the asset SCL that it reads.*assets=\{'scl': 'NAME'\}"):
        load(provider(service), read(where=SMALL))
    got = load(provider(service, assets={"scl": "SCL_20m"}), read(where=grid(size=40), mask="scl"))
    np.testing.assert_array_equal(got.n_obs[0, :, 0], [1] * 10 + [0] * 10 + [1] * 20)


# --- formats


def typed(media, ending=".tif"):
    def edit(item):
        for asset in item["assets"].values():
            asset["type"] = media
            asset["href"] = asset["href"].removesuffix(".tif") + ending

    return edit


@pytest.mark.parametrize(
    "media", ["image/cog", "application/octet-stream", "", None, "image/vnd.stac.geotiff", "image/jp2", "text/plain"]
)
def test_a_cog_is_one_by_its_content_whatever_its_type(plain, media):
    service = plain(s2_scene("a", "2022-06-05T10:00:00", bands=("B04",), scl=None), edit=typed(media))
    assert only(load(provider(service), read(where=SMALL, mask="none")).values) == 1500


@pytest.mark.parametrize(
    ("media", "ending", "expected"),
    [
        ("image/tiff; application=geotiff", ".jp2", ""),
        ("image/jp2", ".TIFF", ""),
        ("image/jp2", "", "JPEG 2000"),
        ("application/octet-stream", ".jp2", "JPEG 2000"),
        ("", ".jp2?sig=1", "JPEG 2000"),
        ("image/jpeg", "", "a picture"),
        ("application/json", "", "text"),
        ("application/x-hdf", ".h5", "an array file"),
        ("", ".zarr", "an array file"),
        ("application/octet-stream", "", ""),
        ("", "", ""),
    ],
)
def test_what_is_certainly_no_geotiff_is_known_by_type_or_ending(media, ending, expected):
    assert format_of(Asset(f"https://host/jp2/json/B04{ending}", media)) == expected


JP2 = b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(40_000)


def test_jpeg_2000_is_refused_without_a_request(plain):
    service = plain(s2_scene("a", "2022-06-05T10:00:00", bands=("B04",), scl=None), edit=typed("image/jp2", ".jp2"))
    with pytest.raises(
        ProviderError, match=r"asset B04 of item a = .*it is JPEG 2000, not a GeoTIFF.*provider='files'"
    ):
        load(provider(service), read(where=SMALL, mask="none"))
    assert not service.counts()["range"]


def test_one_item_of_jpeg_2000_costs_its_date_and_is_named(plain):
    scenes = [
        s2_scene(name, f"2022-06-0{n}T10:00:00", dn=1000 * n, bands=("B04",), scl=None)
        for n, name in enumerate("ab", 1)
    ]
    service = plain(*scenes, edit=lambda item: item["id"] == "b" and typed("image/jp2", ".jp2")(item))
    got = load(provider(service), read(where=SMALL, mask="none"))
    assert (only(got.values), got.scenes) == (1000, ("a",))
    assert got.lost == ("asset B04 of item b: it is JPEG 2000, not a GeoTIFF of which parts can be read",)


def test_jpeg_2000_beside_a_geotiff_of_the_same_band_is_passed_over(plain):
    def edit(item):
        item["assets"] |= {"red-jp2": {**item["assets"]["B04"], "href": "blob:x/red.jp2", "type": "image/jp2"}}
        item["assets"]["red"] = item["assets"].pop("B04")
        for name in ("red", "red-jp2"):
            item["assets"][name]["eo:bands"] = [{"common_name": "red"}]

    service = plain(s2_scene("a", "2022-06-05T10:00:00", bands=("B04",), scl=None), edit=edit)
    assert only(load(provider(service), read(where=SMALL, mask="none")).values) == 1500


def test_jpeg_2000_that_is_called_a_geotiff_is_known_by_its_content(plain):
    service = plain(s2_scene("a", "2022-06-05T10:00:00", bands=("B04",), scl=None))
    next((service.root / "blobs").rglob("B04.tif")).write_bytes(JP2)
    with pytest.raises(ProviderError, match=r"asset B04 of item a.*it is JPEG 2000, not a TIFF"):
        load(provider(service), read(where=SMALL, mask="none"))
    assert service.counts()["range"] == 1


# --- buckets


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("s3://sentinel-cogs/tiles/31/U/B04.tif", "https://sentinel-cogs.s3.amazonaws.com/tiles/31/U/B04.tif"),
        ("s3://my.bucket/a b#1.tif", "https://s3.amazonaws.com/my.bucket/a%20b%231.tif"),
        ("gs://gcp-public-data/a.tif", "https://storage.googleapis.com/gcp-public-data/a.tif"),
        ("S3://bucket/a.tif", "https://bucket.s3.amazonaws.com/a.tif"),
        ("https://host/a.tif", "https://host/a.tif"),
        ("a.tif", "a.tif"),
        ("s3://bucket/", "s3://bucket/"),
        ("s3://evil.example:80/a.tif", "s3://evil.example:80/a.tif"),
        ("s3://user@host/a.tif", "s3://user@host/a.tif"),
        ("s3://a/b.tif", "s3://a/b.tif"),
        ("abfs://bucket/a.tif", "abfs://bucket/a.tif"),
    ],
)
def test_an_object_of_a_public_bucket_has_an_https_address(address, expected):
    assert over_http(address) == expected


@pytest.mark.parametrize(
    ("url", "status", "region", "expected"),
    [
        ("https://b.s3.amazonaws.com/a.tif", 301, "eu-central-1", "https://b.s3.eu-central-1.amazonaws.com/a.tif"),
        (
            "https://s3.amazonaws.com/my.b/a.tif",
            301,
            "us-gov-west-1",
            "https://s3.us-gov-west-1.amazonaws.com/my.b/a.tif",
        ),
        ("https://b.s3.amazonaws.com/a.tif", 403, "eu-central-1", None),
        ("https://b.s3.amazonaws.com/a.tif", 301, "evil.example/", None),
        ("https://host/a.tif", 301, "eu-central-1", None),
        ("https://b.s3.eu-central-1.amazonaws.com/a.tif", 301, "eu-west-1", None),
    ],
)
def test_a_bucket_in_another_region_is_asked_there(url, status, region, expected):
    assert regional(url, status, {"x-amz-bucket-region": region}) == expected


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_links_into_buckets_are_read(plain, monkeypatch, scheme):
    service = plain(s2_scene("a", "2022-06-05T10:00:00", bands=("B04",), scl=None), edit=in_bucket(scheme))
    here = f"http://127.0.0.1:{service.port}{LOCAL_BLOBS}{{bucket}}/{{key}}"
    monkeypatch.setitem(buckets._PUBLIC, scheme, (here, here))
    assert only(load(provider(service), read(where=SMALL, mask="none")).values) == 1500


def in_bucket(scheme):
    return lambda item: [a.update(href=a["href"].replace("blob:", f"{scheme}://")) for a in item["assets"].values()]


def test_relative_links_of_an_item_in_a_bucket_count_from_there(plain, monkeypatch):
    service = plain(s2_scene("a", "2022-06-05T10:00:00", bands=("B04",), scl=None))
    host = service.api.items[0]["assets"]["B04"]["href"].partition(LOCAL_BLOBS)[2].partition("/")[0]
    here = f"http://127.0.0.1:{service.port}{LOCAL_BLOBS}{{bucket}}/{{key}}"
    monkeypatch.setitem(buckets._PUBLIC, "s3", (here, here))
    service.api.items[0]["assets"]["B04"]["href"] = "./a/B04.tif"
    own = {"rel": "self", "href": f"s3://{host}/sentinel-2-l2a/a.json"}
    monkeypatch.setattr("tests.services.stac_api.item_links", lambda item, base: [own])
    assert only(load(provider(service), read(where=SMALL, mask="none")).values) == 1500


def test_a_link_into_a_bucket_that_has_no_address_is_refused(plain):
    service = plain(s2_scene("a", "2022-06-05T10:00:00", bands=("B04",), scl=None), edit=in_bucket("abfs"))
    with pytest.raises(ProviderError, match=r"cannot read abfs:// addresses"):
        load(provider(service), read(where=SMALL, mask="none"))


# --- footprints


def test_a_footprint_that_contradicts_the_bbox_is_reported_and_the_header_decides(plain):
    def edit(item):
        if item["id"] == "odd":
            asset = item["assets"]["B04"]
            asset.pop("proj:transform")
            asset["proj:bbox"] = [650_000.0, 5_648_800.0, 651_200.0, 5_650_000.0]

    scenes = [s2_scene("good", "2022-06-05T10:00:00", **ONE), s2_scene("odd", "2022-06-15T10:00:00", dn=3500, **ONE)]
    got = load(provider(plain(*scenes, edit=edit)), read(where=SMALL, mask="none"))
    assert (only(got.values), got.scenes, got.lost) == (2500, ("good", "odd"), ())
    note = "item odd: footprint and bbox contradict each other, so the file's own header decided"
    assert got.notes == got.select(bands=("red",)).notes == (note,)
    assert got.to_xarray().attrs["notes"] == [note]


def test_a_footprint_that_holds_the_bbox_contradicts_nothing(plain, monkeypatch):
    monkeypatch.setattr("tests.services.stac_api.matches_place", lambda bbox, geometry: lambda item: True)
    service = plain(s2_scene("a", "2022-06-05T10:00:00", bands=("B04",), scl=None))
    west, south, east, north = service.api.items[0]["bbox"]
    service.api.items[0]["bbox"] = [west, south, (west + east) / 2, (south + north) / 2]  # of what it shows
    assert load(provider(service), read(where=SMALL, mask="none")).notes == ()


def test_items_of_a_read_are_parsed_with_their_facts():
    asset = {"href": "https://host/a.tif", "roles": ["data"], "gsd": "10", "eo:bands": [{"name": "B04"}]}
    item = parse_item({"id": "a", "properties": {"datetime": "2022-06-01T10:00:00Z"}, "assets": {"x": asset}})
    told = {"roles": frozenset({"data"}), "gsd": 10.0, "bands": (BandFacts("B04"),)}
    assert item.assets["x"] == replace(Asset("https://host/a.tif"), **told)
