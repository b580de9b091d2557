"""The doctor of products: their mirror, and what it has at a place."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import rs_embed_dask as rs
from rs_embed_dask.cli.app import app

LAND = rs.BBox(300970, 5770450, 301120, 5770560, crs="EPSG:32631")


def doctor(served, folder, name, tmp_path, *words):
    options = [f"--product-option=base_url={served.url}/{folder}", f"--product-option=cache={tmp_path}"]
    run = CliRunner().invoke(app, ["doctor", "--json", "--product", name, *options, "--year", "2024", *words])
    return run.exit_code, json.loads(run.stdout)


@pytest.mark.parametrize(("name", "folder", "dim"), [("tessera", "new", 128), ("gse", "gse", 64)])
def test_a_mirror_that_works(served, tmp_path, name, folder, dim):
    place = LAND.unwrapped.centroid
    code, rows = doctor(served, folder, name, tmp_path, "--at", f"{place.x},{place.y}")
    assert (code, [row[""] for row in rows]) == (0, ["ok"] * 4)
    assert rows[0]["question"] == f"is the host reached ({served.url})?"
    assert rows[3]["answer"].startswith("yes: 16 x 16 vectors of ")
    assert f"vectors of {dim} dimensions" in rows[3]["answer"]


def test_a_place_without_a_tile_and_a_mirror_without_files(served, tmp_path):
    code, rows = doctor(served, "new", "tessera", tmp_path, "--at", "-30,-10")
    assert (code, [row[""] for row in rows]) == (0, ["ok", "ok", "ok", ""])
    assert "there is no tile of 2024" in rows[2]["answer"]
    code, rows = doctor(served, "nowhere", "gse", tmp_path)
    assert (code, [row[""] for row in rows]) == (1, ["ok", "ok", "NOT AS EXPECTED", ""])
    assert "there is no index of the tiles" in rows[2]["answer"]
