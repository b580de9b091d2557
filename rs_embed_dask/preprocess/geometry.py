"""How an image fits a network: resized or in tiles, and where each token lies. Integers only, no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.grid import Window

if TYPE_CHECKING:
    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.preprocess.inputs import Inputs
    from rs_embed_dask.specs import InputPrep

__all__ = ["Fit", "fit_image", "native_tile", "owned", "place_grid", "seen_window", "tile_starts", "view_px"]

_NEARLY_SQUARE = 8


@dataclass(frozen=True)
class Fit:
    """The plan for one image; pairs are (down, across)."""

    # `image` is the part that is used and `pad` the reflected pixels added below and to the right, in source
    # pixels; `resized_px` the size after the resize, `net_px` the centre of that which the network sees; `starts`
    # the first rows and columns of the tiles, `tile_px` their size; `tokens` are counted over the whole image,
    # and `keep` are those that come out; a token covers `cell_px` source pixels and the first one begins at
    # `origin_px`.

    image: Window
    pad: tuple[int, int]
    resized_px: tuple[int, int]
    net_px: tuple[int, int]
    starts: tuple[tuple[int, ...], tuple[int, ...]]
    tile_px: tuple[int, int]
    tokens: tuple[int, int]
    keep: Window
    cell_px: tuple[float, float]
    origin_px: tuple[float, float] = (0.0, 0.0)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the token grid that comes out."""
        return self.keep.height, self.keep.width

    @property
    def tile_count(self) -> int:
        """Number of images that the network sees for this one."""
        return len(self.starts[0]) * len(self.starts[1])

    @property
    def window(self) -> tuple[int, int]:
        """Rows and columns of the tokens of one tile."""
        rows, columns = (
            whole if len(starts) == 1 else round(tile / cell)
            for whole, starts, tile, cell in zip(self.tokens, self.starts, self.tile_px, self.cell_px, strict=True)
        )
        return rows, columns

    @property
    def places(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Where the rows and columns of the token grid that comes out lie in the tiles that they are from."""
        rows, columns = (
            tuple(place for _, part in owned(starts, cell, own, total=whole) for place in range(part.start, part.stop))
            for starts, cell, own, whole in zip(self.starts, self.cell_px, self.window, self.tokens, strict=True)
        )
        down, across = self.keep.slices
        return rows[down], columns[across]


def owned(starts: tuple[int, ...], cell: float, length: int, *, total: int) -> list[tuple[int, slice]]:
    """Return the tokens that each tile contributes, along one axis: where two overlap, each up to the middle."""
    firsts = [round(start / cell) for start in starts]
    middles = [(one + length + two) // 2 for one, two in pairwise(firsts)]
    edges = [0, *middles, total]
    return [(i, slice(edges[i] - first, edges[i + 1] - first)) for i, first in enumerate(firsts)]


def fit_image(
    inputs: Inputs, patch: int, shape: tuple[int, int], *, prep: InputPrep, crop: Window | None = None
) -> Fit:
    """Plan how an image of (H, W) pixels passes through a network of `patch` pixels per token."""
    # ``resize``: the whole image takes the network's size: `size_px`, or, for a network that takes any, the
    # multiple of its patch nearest to the image's own size, at most `max_px`. ``tile``: tiles of the network's
    # size, the last one of a row or column shifted back so that it ends with the image (rounded up to a whole
    # token by less than a token of reflected pixels), so that every token lies on one lattice; an image smaller
    # than a tile is resized. ``auto``: nothing is resized: what is larger than the network is tiled, what is smaller
    # is seen with the imagery around it; only an image that ends sooner is resized. `crop` is the requested part,
    # where more was read around it.
    whole = Window(0, 0, *shape)
    window = crop or whole
    if inputs.native:
        return _cells(window, patch)
    tile_px, stride = ((px or 0) * inputs.fold for px in (prep.tile_px, prep.stride_px))
    tile = tile_px or inputs.size_px or _round_to((inputs.max_px or max(shape)), inputs.multiple_px or patch)
    if prep.mode == "auto":
        seen = seen_window(inputs, patch, window, shape=shape, prep=prep)
        if seen is not None:
            return _native(inputs, patch, window, seen=seen, prep=prep)
    elif prep.mode == "tile" and min(window.height, window.width) >= tile:
        return _tiled(inputs, patch, window, tile, stride)
    return _snapped(inputs, patch, shape, window) if inputs.snap_px else _resized(inputs, patch, shape, window)


def view_px(inputs: Inputs, patch: int, length: int, *, prep: InputPrep) -> int:
    """Return how many pixels a side of `length` is seen in without a resize: a whole tile at least, whole tokens."""
    multiple = inputs.multiple_px or patch
    tile = native_tile(inputs, patch, length, prep=prep)
    return max(tile, -(-length // multiple) * multiple)


def native_tile(inputs: Inputs, patch: int, length: int, *, prep: InputPrep) -> int:
    """Return the side of a tile in pixels of the read, for a network of a fixed size or of any up to a limit."""
    multiple = inputs.multiple_px or patch
    fixed = (prep.tile_px or 0) * inputs.fold or inputs.size_px
    if fixed:
        return fixed
    whole = -(-length // multiple) * multiple
    return whole if inputs.max_px is None else min(whole, max(multiple, inputs.max_px // multiple * multiple))


def seen_window(
    inputs: Inputs, patch: int, window: Window, *, shape: tuple[int, int], prep: InputPrep
) -> Window | None:
    """Widen a window to what the network sees of it, inside an image of (H, W); None where the image ends sooner."""
    tile = native_tile(inputs, patch, max(window.shape), prep=prep)
    sides = [max(view_px(inputs, patch, side, prep=prep), tile) for side in window.shape]
    if any(side > size for side, size in zip(sides, shape, strict=True)):
        return None
    cell = tile * patch // (inputs.size_px or tile)
    firsts = [
        _first_px(start, own, side=side, size=size, cell=cell)
        for start, own, side, size in zip((window.row, window.col), window.shape, sides, shape, strict=True)
    ]
    return Window(firsts[0], firsts[1], sides[0], sides[1])


def _first_px(start: int, own: int, *, side: int, size: int, cell: int) -> int:
    """Centre what is seen on a place so that a token begins where the place does, as far as the image reaches."""
    lead = (side - own) // 2 // cell * cell
    leads = [each for each in (lead, lead + cell, lead - cell) if each >= 0 and 0 <= start - each <= size - side]
    return start - leads[0] if leads else max(0, min(start - lead, size - side))


def _native(inputs: Inputs, patch: int, window: Window, *, seen: Window, prep: InputPrep) -> Fit:
    """Tile the widened window, and keep the tokens that touch the window."""
    tile = native_tile(inputs, patch, max(window.shape), prep=prep)
    fit = _tiled(inputs, patch, seen, tile, (prep.stride_px or 0) * inputs.fold)
    if fit.tile_count > prep.max_tiles:
        reason = f"{window.height} x {window.width} px take {fit.tile_count:,} tiles of {tile} px, more than max_tiles"
        fix = f"use compute_map, smaller places, or InputPrep.auto(max_tiles={fit.tile_count})"
        raise SpecError("InputPrep.max_tiles", value=prep.max_tiles, reason=reason, fix=fix)
    rows, height = _token_range(window.row - seen.row, window.height, fit.tokens[0], fit.cell_px[0], 0.0)
    columns, width = _token_range(window.col - seen.col, window.width, fit.tokens[1], fit.cell_px[1], 0.0)
    return replace(fit, keep=Window(rows, columns, height, width))


def _round_to(length: int, multiple: int, limit: int | None = None) -> int:
    """Return the multiple nearest to a length (half up), at least one, at most the limit."""
    side = max(1, (2 * length + multiple) // (2 * multiple)) * multiple
    return side if limit is None else min(side, max(multiple, limit // multiple * multiple))


def _cells(window: Window, patch: int) -> Fit:
    tokens = (-(-window.height // patch), -(-window.width // patch))
    size = (window.height, window.width)
    return Fit(window, (0, 0), size, size, ((0,), (0,)), size, tokens, Window(0, 0, *tokens), (patch, patch))


def _snapped(inputs: Inputs, patch: int, shape: tuple[int, int], window: Window) -> Fit:
    """Crop the centre of an image that is nearly square; resize any other."""
    multiple = inputs.multiple_px or patch
    side = min(shape) // multiple * multiple
    if not side or max(shape) - min(shape) > _NEARLY_SQUARE or side > (inputs.max_px or side):
        return _resized(replace(inputs, size_px=inputs.snap_px), patch, shape, window)
    image = Window((shape[0] - side) // 2, (shape[1] - side) // 2, side, side)
    rows, height = _token_range(window.row, window.height, side // patch, patch, image.row)
    columns, width = _token_range(window.col, window.width, side // patch, patch, image.col)
    size, tokens, keep = (side, side), (side // patch,) * 2, Window(rows, columns, height, width)
    return Fit(image, (0, 0), size, size, ((0,), (0,)), size, tokens, keep, (patch, patch))


def _resized(inputs: Inputs, patch: int, shape: tuple[int, int], window: Window) -> Fit:
    side = max(shape)
    source = (side, side) if inputs.rectangle == "pad" else shape
    net = inputs.size_px or _round_to(side, inputs.multiple_px or patch, inputs.max_px)
    short = inputs.short_px
    resized = (short * source[0] // min(source), short * source[1] // min(source)) if short else (net, net)
    count = net // patch
    cell = (source[0] * patch / resized[0], source[1] * patch / resized[1])
    cut = (round((resized[0] - net) / 2), round((resized[1] - net) / 2))
    origin = (source[0] * cut[0] / resized[0], source[1] * cut[1] / resized[1])
    rows, height = _token_range(window.row, window.height, count, cell[0], origin[0])
    columns, width = _token_range(window.col, window.width, count, cell[1], origin[1])
    return Fit(
        image=Window(0, 0, *shape),
        pad=(source[0] - shape[0], source[1] - shape[1]),
        resized_px=resized,
        net_px=(net, net),
        starts=((0,), (0,)),
        tile_px=source,
        tokens=(count, count),
        keep=Window(rows, columns, height, width),
        cell_px=cell,
        origin_px=origin,
    )


def _token_range(start: int, length: int, count: int, cell: float, origin: float) -> tuple[int, int]:
    """Return the first token and the number of tokens that touch pixels start .. start + length, along one axis."""
    nudge = 1e-9
    first = max(0, min(count - 1, int((start - origin) / cell + nudge)))
    last = max(first + 1, min(count, -int(-((start + length - origin) / cell - nudge) // 1)))
    return first, last - first


def _tiled(inputs: Inputs, patch: int, window: Window, tile: int, stride: int) -> Fit:
    net = inputs.size_px or tile
    if tile % (net // patch) or net % patch:
        listed = ", ".join(str(net // patch * times) for times in range(1, 2 * patch, max(1, patch // 4)))
        raise SpecError(
            "InputPrep.tile_px", value=tile, reason="its tokens would not be whole pixels", fix=f"use one of {listed}"
        )
    cell = tile * patch // net
    step = stride or tile
    if step % cell or step > tile:
        fix = f"give a multiple of {cell} up to {tile}"
        raise SpecError("InputPrep.stride_px", value=stride, reason="tiles would not share one lattice", fix=fix)
    tokens = (-(-window.height // cell), -(-window.width // cell))
    starts = tuple(tile_starts(count * cell, tile, step) for count in tokens)
    pad = (tokens[0] * cell - window.height, tokens[1] * cell - window.width)
    keep = Window(0, 0, *tokens)
    return Fit(window, pad, (net, net), (net, net), (starts[0], starts[1]), (tile, tile), tokens, keep, (cell, cell))


def tile_starts(length: int, tile: int, stride: int) -> tuple[int, ...]:
    """Start a tile every `stride`, the last one shifted back to end with the image."""
    last = length - tile
    return (*range(0, last, stride), last)


def place_grid(grid: Grid, fit: Fit) -> Grid:
    """Georeference the token grid: an exact affine derived from the image's own."""
    a, b, c, d, e, f = grid.transform
    row = fit.image.row + fit.origin_px[0] + fit.keep.row * fit.cell_px[0]
    col = fit.image.col + fit.origin_px[1] + fit.keep.col * fit.cell_px[1]
    down, across = fit.cell_px
    transform = (a * across, b * down, a * col + b * row + c, d * across, e * down, d * col + e * row + f)
    return replace(grid, transform=transform, shape=fit.shape)
