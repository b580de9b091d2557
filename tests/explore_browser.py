"""`rs.explore` in JupyterLab in a real browser: ``python -m tests.explore_browser [--picture FILE]``.

A notebook shows a map whose vectors are known. Its picture is compared token by token, a click, marks and a search are
read from the page, and nothing may be asked of any other machine. Nothing is installed: where there is no Chromium, one
line says so, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import sys
import tempfile
import warnings
from pathlib import Path

import geopandas as gpd
import nbformat
import numpy as np
import rasterio

import rs_embed_dask as rs
from rs_embed_dask.analysis.explorer import view_of
from rs_embed_dask.specs.ground import WGS84, project
from rs_embed_dask.store.export.fields import fields_of
from rs_embed_dask.store.export.preview import build_preview
from rs_embed_dask.store.export.web_tiles import MERCATOR, TILE_PX, WebTiles, tile_bounds
from rs_embed_dask.store.map_store import MapStore
from tests import devtools
from tests.plot.ground import make_ground

ROOT = Path(__file__).resolve().parents[1]
BORDER = {"utm31": [(5.4, 49.8), (5.98, 50.3)], "utm32": [(6.02, 49.8), (6.6, 50.3)]}
HEIGHT = 560
OUTPUT = ".jp-OutputArea-output"
CANVAS = f"{OUTPUT} canvas"
READY = """(() => {
  const shell = window.jupyterapp?.shell;
  const page = [...(shell?.widgets('main') ?? [])].find(one => one.sessionContext?.session?.kernel);
  if (page) shell.activateById(page.id);
  return !!page && shell.currentWidget === page;
})()"""
SETTINGS = {"@jupyterlab/apputils-extension/notification.jupyterlab-settings": {"fetchNews": "false"}}


def missing():
    """Say why this cannot run here, or nothing."""
    return "" if devtools.browser() else f"no Chromium is installed (looked for {', '.join(devtools.NAMES)})"


@contextlib.contextmanager
def notebook(folder, code):
    """The page of a notebook in JupyterLab, whose only cell was run."""
    work, state = folder / "work", folder / "jupyter"
    work.mkdir()
    for name, settings in SETTINGS.items():
        path = state / "settings" / name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(settings))
    cells = [nbformat.v4.new_code_cell(code)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), work / "explore.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = os.urandom(16).hex()
    options = (f"--port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={work}", "--no-browser")
    options += ("--ip=127.0.0.1", f"--IdentityProvider.token={token}", "--allow-root")
    options += ("--LabApp.expose_app_in_browser=True",)
    own = {f"JUPYTER_{name}_DIR": str(state / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {"JUPYTERLAB_SETTINGS_DIR": str(state / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(state / "workspaces")}
    own |= {"IPYTHONDIR": str(state / "ipython"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "jupyterlab", *options]
    with devtools.running(command, folder / "lab.log", env=os.environ | own), devtools.opened(folder) as page:
        devtools.until(lambda: answers(port))
        page.call("Page.navigate", url=f"http://127.0.0.1:{port}/doc/tree/explore.ipynb?token={token}")
        devtools.until(lambda: page.js(READY))
        page.js("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
        devtools.until(lambda: page.js(f"!!document.querySelector('{CANVAS}')"))
        yield page


def answers(port):
    """Say whether something listens at a port of this machine."""
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


class Screen:
    """Where places are on the page, by the view that the map begins with."""

    def __init__(self, page, tiles):
        self.left, self.top, self.width, self.height = page.box(CANVAS)
        lon, lat, zoom = view_of(tiles, HEIGHT)
        (x,), (y,) = project(WGS84, MERCATOR, [lon], [lat])
        left, _, right, _ = tile_bounds(0, 0, 0)
        self.middle, self.size = (x, y), (right - left) / TILE_PX / 2**zoom

    def at(self, lon, lat):
        x, y = project(WGS84, MERCATOR, lon, lat)
        across, down = (x - self.middle[0]) / self.size, (self.middle[1] - y) / self.size
        return self.left + self.width / 2 + across, self.top + self.height / 2 + down


def tokens(path):
    """Longitude, latitude, colour and vector of every token that has one, well within its zone."""
    parts = []
    for group in BORDER:
        data = rs.open_map(path)["ground"][group].to_dataset().isel(time=0).load()
        rgb = np.asarray(MapStore.open(path).array(f"ground/preview/{group}/0/rgb")[0])
        x, y = np.meshgrid(data.x, data.y)
        lon, lat = project(f"EPSG:326{group[3:]}", WGS84, x.ravel(), y.ravel())
        vectors = data.embedding.values.reshape(4, -1).T
        there = np.isfinite(vectors).all(axis=1) & (np.abs(lon - 6) > 0.05)
        colours = rgb[:, : x.shape[0], : x.shape[1]].reshape(3, -1).T
        parts.append((lon[there], lat[there], colours[there], vectors[there]))
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def colours_of(png):
    with warnings.catch_warnings(), rasterio.MemoryFile(png) as file:
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return file.open().read().astype(int)[:3]


def check(folder, picture=None):
    """Go through it all in an empty folder; AssertionError or TimeoutError where something is wrong."""
    path = make_ground(folder / "map.zarr", BORDER)
    build_preview(path)
    code = f"import rs_embed_dask as rs\nexplorer = rs.explore({str(path)!r}, k=5)\nexplorer"
    tiles = WebTiles.of(fields_of(rs.open_map(path), span=0), MapStore.open(path))
    lon, lat, colours, vectors = tokens(path)
    with notebook(folder, code) as page:
        screen = Screen(page, tiles)
        x, y = screen.at(lon, lat)
        away = 80  # pixels beside which lie the buttons of the map
        seen = (x > screen.left + away) & (x < screen.left + screen.width - away)
        seen &= (y > screen.top + away) & (y < screen.top + screen.height - away)
        assert seen.sum() > 1000

        def right():
            """The share of tokens whose middle has their colour on the screen, but for what smoothing does."""
            shot = colours_of(page.picture())
            found = shot[:, y[seen].astype(int), x[seen].astype(int)].T
            return (np.abs(found - colours[seen]).max(axis=1) <= 4).mean()

        devtools.until(lambda: right() > 0.99)
        marked = [np.flatnonzero(seen)[at] for at in (50, -50)]
        for at, button in zip(marked, ("Like this", "Not this"), strict=True):
            click_token(page, (x[at], y[at]), vectors[at])
            devtools.until(lambda: "5" in text(page, ".rs-found"))
            page.press(button)
        found = rs.search(path, vectors[marked[0]], negatives=[vectors[marked[1]]], span=0, k=5)
        listed = [f"{one.score:.4f}\t{one.lat:.5f}, {one.lon:.5f}" for one in found.itertuples()]
        devtools.until(lambda: all(one in text(page, ".rs-found") for one in listed))
        page.press("Save")
        saved = folder / "work" / "marks.geojson"
        devtools.until(saved.exists)
        devtools.until(lambda: "7 points saved" in text(page, OUTPUT))
        assert gpd.read_file(saved)["role"].tolist() == ["positive", "negative", *["found"] * 5]
        click_token(page, (x[marked[0]], y[marked[0]]), vectors[marked[0]])
        devtools.until(lambda: right() < 0.999)  # which the pins cover
        if picture is not None:
            Path(picture).write_bytes(page.picture(page.box(OUTPUT)))
        elsewhere = {one for one in page.addresses if not one.startswith(("http://127.0.0.1:", "data:", "blob:"))}
        assert not elsewhere, elsewhere
        assert not page.errors, page.errors


def click_token(page, place, vector):
    """Click until the vector is in the page: where drawing is slow, a click may be taken for a longer press."""
    known = "[" + ", ".join(f"{one:.4g}" for one in vector) + "]"

    def shown():
        page.click(*place)
        with contextlib.suppress(TimeoutError):
            return devtools.until(lambda: text(page, ".rs-vector") == known, seconds=3)

    devtools.until(shown)


def text(page, selector):
    return page.js(f"(document.querySelector({json.dumps(selector)}) || {{innerText: ''}}).innerText")


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--picture", type=Path, help="where to write a picture of the cell's result")
    given = parser.parse_args(arguments)
    if reason := missing():
        print(f"not run: {reason}")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder), given.picture)
    print("the picture, clicks, search and file are right, and nothing was asked of another machine")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
