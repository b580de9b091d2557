"""Figures 6 and 9 of the paper's use case: what is drawn, what is blank and why, and how tiles are joined."""

from __future__ import annotations

import numpy as np
import pytest
from distributed import Client, LocalCluster
from matplotlib.collections import QuadMesh
from matplotlib.patches import Rectangle

import rs_embed_dask as rs
from examples.maize import imagery, sixteen
from examples.maize.figure_6 import figure_6
from examples.maize.figure_9 import figure_9, layout
from examples.maize.sixteen import PLACE, SPAN, Sixteen, reason_of
from rs_embed_dask.errors import ModelError, SpecError
from rs_embed_dask.plot import fit_pca

PUBLISHED = "its vectors are published, not computed; there are none of a made landscape"
TILE_PX, CELL_PX = 224, 16  # of TerraMind


def meshes(panel):
    return [one for one in panel.collections if isinstance(one, QuadMesh)]


def colours(panel):
    (mesh,) = meshes(panel)
    return np.asarray(mesh.get_array())[..., :3].reshape(-1, 3)


def rows(field):
    return np.moveaxis(field.values, 0, -1).reshape(-1, len(field))


@pytest.fixture(scope="module")
def client():
    options = {"n_workers": 1, "threads_per_worker": 4, "processes": False, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("figures")


@pytest.fixture(scope="module")
def sixth(out, client):
    models = ("gse", "galileo:nano", "satvision", "thor:base", "satmae")
    return figure_6(Sixteen(models=models, made=True, largest=30, client=client), out)


@pytest.fixture(scope="module")
def asked():
    return Sixteen(models=("terramind:small",), made=True, largest=30)


@pytest.fixture(scope="module")
def ninth(asked, out):
    return figure_9(asked, out)


@pytest.fixture(scope="module")
def grids(asked):
    """The grids of Figure 9, by how the place is prepared."""
    options = {"provider": asked.source, "output": "grid"}
    spec = asked.spec("terramind:small")
    with sixteen.resizing():
        return {prep: rs.get_embedding(spec, PLACE, SPAN, prep=prep, **options).data for prep in ("resize", "tile")}


def test_sixteen_models_stand_in_the_order_of_the_paper():
    able, absent = Sixteen(made=True, largest=30).judged
    assert len(sixteen.MODELS) == 16
    assert list(able) == ["thor-tiny", "terramind-tiny", "prithvi-tiny-TL", "galileo-nano"]
    assert {spec.weights for spec in able.values()} == {"random"}
    assert {name for name, error in absent.items() if error.reason == PUBLISHED} == {"gse", "tessera"}
    assert absent["satmae"].reason == "its 303 million parameters are more than the 30 million allowed here"
    assert len(able) + len(absent) == 16
    more, _ = Sixteen(made=True, largest=130).judged
    assert len(more) == 11


def test_without_weights_or_their_licence_a_model_is_absent():
    provider = rs.open_provider("synthetic")
    _, absent = Sixteen(provider, ("satmae",)).judged
    assert reason_of(absent["satmae"]) == "it restricts what the vectors may be used for (CC-BY-NC-4.0)"
    _, absent = Sixteen(provider, ("satmae",), accept_licence=True).judged
    assert reason_of(absent["satmae"]).startswith("the file is not on this machine (MVRL/satmae")


def test_figure_6_draws_what_can_run_and_says_why_the_rest_is_blank(sixth):
    assert [panel.get_title(loc="left") for panel in sixth.axes] == [
        "the scene",
        "gse",
        "galileo-nano",
        "satvision",
        "thor-tiny",
        "satmae",
    ]
    assert [len(meshes(panel)) for panel in sixth.axes] == [0, 0, 1, 0, 1, 0]
    said = {panel.get_title(loc="left"): panel.texts[-1].get_text().replace("\n", " ") for panel in sixth.axes}
    assert said["gse"] == PUBLISHED
    assert said["satmae"].startswith("its 303 million parameters")
    assert said["thor-tiny"].startswith("48 × 48 cells of 85 m, ")
    assert said["galileo-nano"].startswith("12 × 12 cells of 342 m, ")
    assert "\nRandom weights, nothing trained" in sixth.get_suptitle()
    assert sixth.get_suptitle().startswith("A made landscape. ")


def test_no_provider_has_what_satvision_reads():
    _, absent = Sixteen(models=("satvision",), made=True, largest=30).judged
    assert reason_of(absent["satvision"]) == "no public catalogue has MOD021KM, Earth Engine's neither"


def test_each_panel_of_figure_6_has_its_own_colours(sixth, out):
    run = rs.open_store(out / "figure_6_made.zarr")
    for panel in sixth.axes:
        if meshes(panel):
            vectors = rows(run.rs.grid(0, panel.get_title(loc="left")))
            np.testing.assert_allclose(colours(panel), fit_pca(vectors).colours(vectors), atol=1e-5)


def test_tiles_cover_a_side_and_each_is_kept_up_to_the_middle_of_the_overlap():
    assert layout(26, 14) == ((0, 12), [(0, 13), (13, 26)])
    assert layout(30, 14) == ((0, 14, 16), [(0, 14), (14, 22), (22, 30)])


def test_both_grids_of_figure_9_share_their_colours(ninth, grids):
    assert [grid.shape for grid in grids.values()] == [(192, 14, 14), (192, 26, 26)]
    vectors = [rows(grid) for grid in grids.values()]
    pca = fit_pca(np.concatenate(vectors))
    for panel, own in zip(ninth.axes[1:], vectors, strict=True):
        np.testing.assert_allclose(colours(panel), pca.colours(own), atol=1e-5)
    assert "Random weights" in ninth.get_suptitle()


def test_figure_9_outlines_the_tiles_where_they_lie(ninth, grids):
    left, top = (grids["tile"].attrs["transform"][at] for at in (2, 5))
    seen, kept = ([one for one in panel.patches if isinstance(one, Rectangle)] for panel in ninth.axes[::2])
    assert len(seen) == len(kept) == 4
    first, last = seen[0], kept[-1]
    side = 10 * TILE_PX - 2 * 20  # metres, and a little less so that outlines can be told apart
    assert (first.get_width(), first.get_height()) == pytest.approx((side, side))
    assert (first.get_x(), first.get_y() + side) == pytest.approx((left + 20, top - 20))
    assert last.get_bbox().x0 == pytest.approx(left + 13 * 10 * CELL_PX)
    assert last.get_width() == pytest.approx(13 * 10 * CELL_PX)


def test_a_tile_is_what_the_model_makes_of_it_alone(asked, grids):
    field = grids["tile"]
    left, top = (field.attrs["transform"][at] for at in (2, 5))
    side, crs = 10 * TILE_PX, field.rio.crs.to_string()
    tile = rs.BBox(left, top - side, left + side, top, crs=crs)
    alone = rs.get_embedding(
        asked.spec("terramind:small"), tile, SPAN, provider=asked.source, output="grid", prep="resize"
    )
    assert alone.data.shape == (192, 14, 14)
    np.testing.assert_allclose(field.values[:, :13, :13], alone.data.values[:, :13, :13], rtol=1e-4, atol=1e-4)


def test_the_only_model_of_figure_9_must_run(out):
    with pytest.raises(ModelError, match="303 million parameters"):
        figure_9(Sixteen(models=("satmae",), made=True, largest=30), out)
    with pytest.raises(ModelError, match=r"2 were named\. Fix: name one by --models"):
        figure_9(Sixteen(models=("terramind", "galileo:nano"), made=True), out)


def test_a_command_says_what_it_cannot_do(tmp_path, capsys):
    with pytest.raises(SystemExit):
        sixteen.draw("figure_9", figure_9, "", ["--made", "--models", "gse", "--out", str(tmp_path)])
    assert PUBLISHED in capsys.readouterr().err
    with pytest.raises(SystemExit):
        sixteen.draw("figure_6", figure_6, "", ["--provider", "files", "--out", str(tmp_path)])
    assert "Fix: give source=, on the command line --provider-option source=VALUE" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        sixteen.draw("figure_6", figure_6, "", ["--models", "galileo:nano", "--out", str(tmp_path)])
    told = capsys.readouterr()
    assert "without galileo-nano: galileo: weights" in told.out
    assert "none of them can run here. Fix: fetch weights" in told.err
    assert list(tmp_path.iterdir()) == []


def test_the_advice_of_an_error_can_be_typed(tmp_path):
    (tmp_path / "scenes").mkdir()
    words = ["--provider", "files"]
    for option in (f"source={tmp_path / 'scenes'}", "sensor=sentinel-2-l2a"):
        with pytest.raises(SpecError, match=f"--provider-option {option.partition('=')[0]}="):
            imagery.opened(sixteen.command("", words)[1])
        words.append(f"--provider-option={option}")
    asked = rs.open_provider("files", source=str(tmp_path / "scenes"), sensor="sentinel-2-l2a")
    assert imagery.opened(sixteen.command("", words)[1]) == asked


@pytest.mark.parametrize("largest", ["-5", "0", "nan", "inf"])
def test_a_bound_that_is_none_is_refused(tmp_path, capsys, largest):
    with pytest.raises(SystemExit):
        sixteen.draw("figure_6", figure_6, "", ["--made", f"--largest={largest}", "--out", str(tmp_path)])
    assert f"--largest = {float(largest)}: " in capsys.readouterr().err
