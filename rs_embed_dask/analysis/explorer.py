"""The map of `rs_embed_dask.explore` in a notebook: lonboard's map beside a few of ipywidgets' controls."""

from __future__ import annotations

import asyncio
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.analysis.exploration import FOUND, NEGATIVE, POSITIVE
from rs_embed_dask.analysis.pins import PinLook, PinTiles
from rs_embed_dask.analysis.vectors import needed
from rs_embed_dask.errors import RsEmbedError, SpecError
from rs_embed_dask.store.export.web_tiles import TILE_PX

if TYPE_CHECKING:
    from collections.abc import Callable

    import geopandas as gpd

    from rs_embed_dask.analysis.exploration import Exploration, Role, Token
    from rs_embed_dask.store.export.web_tiles import WebTiles

__all__ = ["Explorer", "checked_basemap", "checked_extra", "view_of"]

_LOOKS: Final = {
    FOUND: PinLook(6.0, (255, 255, 255)),
    NEGATIVE: PinLook(8.0, (211, 47, 47)),
    POSITIVE: PinLook(8.0, (56, 142, 60)),
    "clicked": PinLook(11.0, None),
}
_DRAWN: Final = 1000
_SHOWN: Final = 8  # numbers of a vector that are written out
_LISTED: Final = 20
_WIDE_PX, _PANEL_PX = 700, 340
_BARS = (300, 60)
_NO_MAP: Final = "Click on the map."


_PARQUET: Final = re.compile(r"https://cdn\.jsdelivr\.net/npm/parquet-wasm@[^`\"']+")
# A WebAssembly module whose only function, __wbindgen_start, does nothing.
_NO_READER: Final = "data:application/wasm;base64,AGFzbQEAAAABBAFgAAADAgEABxQBEF9fd2JpbmRnZW5fc3RhcnQAAAoEAQIACw=="


def checked_extra() -> None:
    """Refuse at once where the extra ``explore`` is not installed."""
    for module in ("lonboard", "ipywidgets", "pmtiles.tile"):
        needed(module, extra="explore")


def checked_basemap(basemap: object) -> None:
    """Refuse what is no map of lonboard's to lie below."""
    from lonboard.basemap import MaplibreBasemap

    if not isinstance(basemap, MaplibreBasemap | None):
        fix = "give lonboard.basemap.MaplibreBasemap(), or leave it out"
        raise SpecError("basemap", value=basemap, reason="it is no base map of lonboard's", fix=fix)


@dataclass(frozen=True, eq=False)
class _Archive:
    """Tiles as lonboard reads those of a PMTiles archive, without a file: one at a time, each in a thread."""

    tiles: WebTiles | PinTiles
    tile_type: Any
    minzoom: int = 0

    @property
    def maxzoom(self) -> int:
        return self.tiles.deepest

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        return self.tiles.bounds

    @property
    def center(self) -> tuple[float, float, int]:
        return *self.tiles.middle, 0

    async def get_tile(self, x: int, y: int, z: int) -> bytes | None:
        return await asyncio.to_thread(self.tiles.png, x, y, z)


@lru_cache(maxsize=1)
def _offline_map() -> Any:
    """Return lonboard's map without the Parquet reader that its script would fetch before it shows anything.

    Tables of points would need it. Here all layers are pictures.
    """
    import lonboard

    script = re.sub(_PARQUET, _NO_READER, str(lonboard.Map._esm))  # noqa: SLF001 - anywidget's name

    return type("OfflineMap", (lonboard.Map,), {"_esm": script})


class Explorer:
    """A map to click on, and beside it what was clicked, found and marked. A notebook shows it as a cell's result.

    Attributes
    ----------
    state : Exploration
        What was clicked, marked and found; it can be used without the picture.
    map : lonboard.Map
        The map; its layers are replaced at every click.
    widget : ipywidgets.HBox
        The map with its panel, to be put into a larger page.
    """

    def __init__(self, state: Exploration, tiles: WebTiles, *, height: int, basemap: Any) -> None:
        import ipywidgets

        self.state = state
        self._tiles, self._colours = tiles, _layer(tiles)
        view = dict(zip(("longitude", "latitude", "zoom"), view_of(tiles, height), strict=True))
        options: dict[str, Any] = {"basemap": basemap, "view_state": view, "show_side_panel": False}
        options["_has_click_handlers"] = True  # from the start: what is sent while a page still loads may be lost
        self.map = _offline_map()([self._colours], height=height, **options)
        self.map.on_click(lambda place: self.click(*place))
        self._told, self._listed = ipywidgets.HTML(_NO_MAP), ipywidgets.HTML()
        self._file = ipywidgets.Text("marks.geojson", layout={"width": "196px"})
        around = ipywidgets.Box([self.map], layout={"flex": "1 1 auto", "height": f"{height}px"})
        self.widget = ipywidgets.HBox([around, self._panel(height)])

    def _panel(self, height: int) -> Any:
        import ipywidgets

        marking = (
            _button("Like this", "success", lambda: self.mark(POSITIVE)),
            _button("Not this", "danger", lambda: self.mark(NEGATIVE)),
            _button("Clear", "", self.clear),
        )
        rows = (ipywidgets.HBox(marking), ipywidgets.HBox([self._file, _button("Save", "", self.save)]))
        cautions = "".join(f"<br>{escape(one)}" for one in self.state.cautions)
        heading = ipywidgets.HTML(_text_box(f"<b>{escape(self.state.label)}</b>{cautions}"))
        box = {"width": f"{_PANEL_PX}px", "height": f"{height}px", "overflow": "auto", "padding": "0 0 0 12px"}
        parts = (heading, *rows, self._told, self._listed)
        for one in parts:
            one.layout.flex = "0 0 auto"  # else long lists press the others flat
        return ipywidgets.VBox(parts, layout=box | {"flex": "0 0 auto"})

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)

    def click(self, lon: float, lat: float) -> None:
        """Show the token that a point lies in, then what is most like it; what a click on the map calls."""
        token = self.state.click(lon, lat)
        self._told.value = _text_box(_told(token))
        if token is not None and token.has_vector:
            self._refresh(self.state.neighbours)
        else:
            self._draw()

    def mark(self, role: Role) -> None:
        """Mark the clicked token, or take its mark off, and find what is like all marks; what the buttons call."""

        def marked() -> gpd.GeoDataFrame:
            self.state.mark(role)
            self._draw()
            return self.state.search()

        self._refresh(marked)

    def clear(self) -> None:
        """Forget the marks and what was found."""
        self.state.clear()
        self._listed.value = ""
        self._draw()

    def save(self) -> None:
        """Write marks and what was found as GeoJSON to the path in the panel, from where the kernel runs."""

        def saved() -> str:
            place = self.state.save(self._file.value)
            return f"{len(self.state.table())} points saved to {escape(str(place.resolve()))}"

        self._tried(saved, self._say)

    def _refresh(self, act: Callable[[], gpd.GeoDataFrame]) -> None:
        self._listed.value = "Searching ..."
        self._tried(act, lambda found: self._say(_listed(found)))
        self._draw()

    def _tried(self, act: Callable[[], Any], show: Callable[[Any], None]) -> None:
        try:
            show(act())
        except RsEmbedError as error:  # a person sees it beside the map, not in the kernel's log
            self._say(f"<span style='color:#b00020'>{escape(str(error))}</span>")

    def _say(self, text: str) -> None:
        self._listed.value = _text_box(text)

    def _draw(self) -> None:
        """Put marks, what was found and the clicked token over the colours, as a layer of its own."""
        token = [] if self.state.token is None else [self.state.token.place]
        table = self.state.table()
        parts = {role: table[table["role"] == role].head(_DRAWN) for role in (FOUND, NEGATIVE, POSITIVE)}
        places = {role: part[["lon", "lat"]].to_numpy("float64") for role, part in parts.items()}
        places["clicked"] = np.array([[one["lon"], one["lat"]] for one in token]).reshape(-1, 2)
        looks = tuple(_LOOKS[role] for role, several in places.items() for _ in several)
        pins = PinTiles(np.concatenate(list(places.values())), looks, self._tiles.bounds, self._tiles.middle)
        self.map.layers = [self._colours, *([_layer(pins)] if looks else [])]


def _button(text: str, style: str, act: Callable[[], None]) -> Any:
    import ipywidgets

    one = ipywidgets.Button(description=text, button_style=style, layout={"width": "96px"})
    one.on_click(lambda _: act())
    return one


def _layer(tiles: WebTiles | PinTiles) -> Any:
    import lonboard
    from pmtiles.tile import TileType

    archive: Any = _Archive(tiles, TileType.PNG)
    return lonboard.RasterLayer.from_pmtiles(archive, pickable=False)


def view_of(tiles: WebTiles, height: int) -> tuple[float, float, float]:
    """Return longitude, latitude and zoom that show the whole map."""
    (lon, lat), (width, tall) = tiles.middle, tiles.size
    fits = (math.log2(px / TILE_PX / share) for px, share in ((_WIDE_PX, width), (height, tall)))
    return lon, lat, max(0.0, min(fits) - 0.1)


def _text_box(html: str) -> str:
    return f"<div style='line-height:1.4'>{html}</div>"


def _told(token: Token | None) -> str:
    if token is None:
        return "No token of the map lies there."
    place = token.place
    lines = [f"<b>{place['lat']:.5f}, {place['lon']:.5f}</b> (middle of the token)"]
    lines.append(f"{escape(str(place['crs']))} {place['x']:.0f}, {place['y']:.0f}; {escape(str(place['span']))}")
    outcome = ": ".join(escape(one) for one in (token.status, token.reason) if one)
    lines += [f"status {outcome}"] if outcome else []
    lines += ["; ".join(f"{name} {_text(value)}" for name, value in token.layers.items())] if token.layers else []
    if not token.has_vector:
        return "<br>".join([*lines, "no vector"])
    shown = ", ".join(f"{one:.4g}" for one in token.vector[:_SHOWN].tolist())
    more = ", ..." if len(token.vector) > _SHOWN else ""
    lines.append(f"vector of {len(token.vector)}, length {np.linalg.norm(token.vector):.4g}:")
    return "<br>".join([*lines, f"<code class='rs-vector'>[{shown}{more}]</code>"]) + _bars(token.vector)


def _text(value: Any) -> str:
    if isinstance(value, np.datetime64):
        return str(value.astype("M8[D]"))
    return f"{value:.3g}" if isinstance(value, float | np.floating) else str(value)


def _bars(vector: Any) -> str:
    """Draw all numbers of a vector as bars from their zero line."""
    width, height = _BARS
    values = np.asarray(vector, np.float64)
    low, high = min(0.0, values.min()), max(0.0, values.max())
    scale, step = height / (high - low or 1.0), width / len(values)
    zero = high * scale
    bars = "".join(
        f"<rect x='{at * step:.2f}' y='{zero - max(tall, 0):.2f}' width='{step:.2f}' height='{abs(tall):.2f}'/>"
        for at, tall in enumerate((values * scale).tolist())
    )
    return f"<svg width='{width}' height='{height}' style='display:block' fill='#00796b'>{bars}</svg>"


def _listed(found: gpd.GeoDataFrame) -> str:
    rows = "".join(
        f"<tr><td>{rank}</td><td>{one.score:.4f}</td><td>{one.lat:.5f}, {one.lon:.5f}</td></tr>"
        for rank, one in enumerate(found.head(_LISTED).itertuples(), 1)
    )
    more = f"<p>and {len(found) - _LISTED} more</p>" if len(found) > _LISTED else ""
    head = "<tr><th></th><th>score</th><th>latitude, longitude</th></tr>"
    return f"<table class='rs-found' style='text-align:left;border-spacing:8px 0'>{head}{rows}</table>{more}"
