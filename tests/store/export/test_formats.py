"""Maps by the verb and the command that all formats share: the same files as by each format's own function."""

from __future__ import annotations

import json

import numpy as np
import pystac
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate
from typer.testing import CliRunner

import rs_embed_dask as rs
from rs_embed_dask.cli.app import app
from rs_embed_dask.errors import RsEmbedError, SpecError, UnknownNameError
from rs_embed_dask.store.map_reader import open_map

NAMES = ["wide_utm31_2021-01-01_2022-01-01.tif", "wide_utm31_2022-01-01_2023-01-01.tif"]


def command(*words):
    result = CliRunner().invoke(app, ["export", *(str(word) for word in words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout.strip(), result.stderr


def vectors(path):
    with rasterio.open(path) as image:
        return image.read()


def test_cogs_by_the_verb_are_those_of_their_function(wide, tmp_path):
    direct = rs.to_cog(wide, tmp_path / "a", "all", group="utm31")
    folder = rs.export(wide, "cog", tmp_path / "b", model=["wide"], dims="all", group="utm31")
    assert folder == tmp_path / "b"
    assert sorted(one.name for one in folder.iterdir()) == [one.name for one in direct] == NAMES
    for one in direct:
        np.testing.assert_array_equal(vectors(one), vectors(folder / one.name))


def test_one_field_of_a_map_by_the_command(wide, tmp_path):
    path = tmp_path / "two.tif"
    words = ("--format", "cog", "-m", "wide", "--group", "utm31", "--span", "1", "--dims", "3,1")
    assert command(wide, path, *words) == (0, str(path), "")
    assert cog_validate(path, strict=True) == (True, [], [])
    known = open_map(wide)["wide"]["utm31"].embedding.isel(time=1, dim=[3, 1]).values.astype("float32")
    np.testing.assert_array_equal(vectors(path), known)


def test_colours_of_every_zone_and_span_by_the_command(wide, tmp_path):
    assert command(wide, tmp_path / "all", "--format", "cog")[0] == 0
    groups = sorted(open_map(wide)["wide"].children)
    assert len(groups) == 2
    files = sorted((tmp_path / "all").iterdir())
    assert len(files) == 2 * len(groups)
    assert {one.name for one in files} >= set(NAMES)
    for one in files:
        assert cog_validate(one, strict=True) == (True, [], [])
        assert vectors(one).dtype == "uint8"


def test_a_catalogue_by_the_command_is_that_of_its_function(wide, tmp_path):
    terms, place = "CC-BY-4.0", "s3://bucket/county.zarr"
    rs.to_stac(wide, tmp_path / "a", license=terms, href=place)
    words = ("--format", "stac", "--license", terms, "--href", place)
    assert command(wide, tmp_path / "b", *words) == (0, str(tmp_path / "b"), "")
    ours, theirs = (
        {one.relative_to(folder): json.loads(one.read_text()) for one in folder.rglob("*.json")}
        for folder in (tmp_path / "a", tmp_path / "b")
    )
    assert ours == theirs
    items = list(pystac.Catalog.from_file(str(tmp_path / "b" / "catalog.json")).get_items(recursive=True))
    assert len(items) == 23
    assert {one.assets["embeddings"].href.rpartition("/")[0] for one in items} == {f"{place}/wide"}


def test_options_of_another_format_and_stores_of_another_kind_are_refused(wide, vectors_store, tmp_path):
    with pytest.raises(UnknownNameError, match="license"):
        rs.export(wide, "cog", tmp_path / "x", license="MIT")
    with pytest.raises(UnknownNameError, match="dims"):
        rs.export(vectors_store, "geoparquet", tmp_path / "x", dims="all")
    with pytest.raises(UnknownNameError, match="wide"):
        rs.export(wide, "stac", tmp_path / "x", model=["wide", "wied"])
    for source, kind in ((vectors_store, "cog"), (wide, "geoparquet"), (wide, "netcdf")):
        with pytest.raises(RsEmbedError, match=r"map|places|no item has a grid"):
            rs.export(source, kind, tmp_path / "x")
    with pytest.raises(SpecError, match="dims"):
        rs.export(wide, "cog", tmp_path / "y", dims="some")
    assert command(wide, tmp_path / "z", "--format", "cog", "--dims", "some")[0] == 2
    assert not (tmp_path / "x").exists()


@pytest.fixture
def vectors_store(request):
    return request.getfixturevalue("vectors")
