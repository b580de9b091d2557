"""What shape: one vector per place or a grid of them, and how an image is fitted to a network of fixed size."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs.base import Record, choice, positive, renamed, whole
from rs_embed_dask.specs.positions import KEPT, MODES, REMOVED, PositionTable, positions_given

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Positions: TypeAlias = str | os.PathLike[str] | PositionTable | NDArray[Any]

__all__ = ["InputPrep", "InputPrepSpec", "OutputSpec"]

COARSEST_M: Final = 100_000.0
_LARGEST_PX: Final = 65_536


@dataclass(frozen=True, repr=False)
class OutputSpec(Record):
    """One vector per place, or a grid of vectors that maps it.

    Parameters
    ----------
    mode : {"pooled", "grid"}
        Which of the two.
    pooling : {"mean", "max", "cls"}, optional
        How the tokens are pooled into one vector; not for grids. Default: the vector that each model's authors use.
    within : {"auto", "shape", "box"}, default "auto"
        What counts of a polygon: the tokens weighted by the share of each inside it ("shape"), or all tokens of the
        box around it ("box"). "auto" is "shape", except for vectors of a whole image, such as class tokens, which
        cannot be confined: these are of the box, with a warning. Other places are boxes anyway.
    scale_m : float, optional
        Resolution of the read in metres, the same as ``FetchSpec.resolution_m``. Default: the model's own.
    positions : {"kept", "auto", "removed"}, array, path or PositionTable, default "kept"
        Whether what a token's position in the network's window adds to its vector is taken from grids; see `grid`.

    Raises
    ------
    SpecError, UnknownNameError
        If a value is not valid.

    Examples
    --------
    >>> OutputSpec.grid(scale_m=10).scale_m
    10.0
    """

    mode: str
    pooling: str | None = None
    scale_m: float | None = None
    within: Literal["auto", "shape", "box"] = "auto"
    positions: Positions = KEPT

    def __post_init__(self) -> None:
        choice("OutputSpec.mode", self.mode, ("pooled", "grid"))
        choice("OutputSpec.within", self.within, ("auto", "shape", "box"))
        if self.pooling is not None:
            choice("OutputSpec.pooling", self.pooling, ("mean", "max", "cls"))
        if self.mode == "grid" and self.pooling is not None:
            fix = "leave pooling out, or use OutputSpec.pooled"
            raise SpecError("OutputSpec.pooling", value=self.pooling, reason="a grid is not pooled", fix=fix)
        if self.scale_m is not None:
            scale_m = positive("OutputSpec.scale_m", self.scale_m, at_most=COARSEST_M, unit="m")
            object.__setattr__(self, "scale_m", scale_m)
        positions = positions_given("OutputSpec.positions", self.positions)
        object.__setattr__(self, "positions", positions)
        if self.mode != "grid" and positions != KEPT:
            reason, fix = "one vector per place has no position in a window", "use OutputSpec.grid, or leave it out"
            raise SpecError("OutputSpec.positions", value=self.positions, reason=reason, fix=fix)

    @property
    def positions_mode(self) -> str:
        """Whether positions are taken away: "kept", "auto" or "removed"; a table is given to be used."""
        return self.positions if isinstance(self.positions, str) and self.positions in MODES else REMOVED

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are not None as JSON values; a table of positions is kept in the store.

        Returns
        -------
        dict
        """
        return super().to_dict() | {"positions": self.positions_mode}

    @classmethod
    def pooled(
        cls,
        pooling: Literal["mean", "max", "cls"] | None = None,
        within: Literal["auto", "shape", "box"] = "auto",
    ) -> Self:
        """Ask for one vector per place.

        Parameters
        ----------
        pooling : {"mean", "max", "cls"}, optional
            Mean or maximum over the tokens, or the class token. Default: the vector that each model's authors use, the
            first that its card lists: the mean for most, the class token for Clay and TerraFM.
        within : {"auto", "shape", "box"}, default "auto"
            Whether a polygon is its shape or the box around it; see the class.

        Returns
        -------
        OutputSpec
        """
        return cls("pooled", pooling, within=within)

    @classmethod
    def grid(
        cls,
        scale_m: float | None = None,
        within: Literal["auto", "shape", "box"] = "auto",
        positions: Positions = KEPT,
    ) -> Self:
        """Ask for one vector per patch, as a map (D, h, w).

        Parameters
        ----------
        scale_m : float, optional
            Resolution of the read in metres. Default: the model's own.
        within : {"auto", "shape", "box"}, default "auto"
            "box" keeps the vectors outside a polygon; otherwise they are NaN.
        positions : {"kept", "auto", "removed"}, array, path or PositionTable, default "kept"
            Whether the mean vector of each position in the network's window, less the mean of all, is taken from the
            tokens. "auto" measures it from up to 256 items whose windows have one shape, before any is written, and
            takes it away where it explains more than 1 % of the variance, less what chance would; with fewer than 64
            such items it is kept. "removed" takes it away whatever it explains, and refuses fewer than 64 items. A
            table (dim, row, column), or the path of a store or map that has one (``position_mean``), is used as it
            is. The default is "kept", unlike that of maps, because a few grids cannot tell positions from the ground,
            and because it leaves the vectors of a run as the network gave them, whatever places are added to it.

        Returns
        -------
        OutputSpec
        """
        return cls("grid", scale_m=scale_m, within=within, positions=positions)


@renamed(tile_size="tile_px", tile_stride="stride_px")
@dataclass(frozen=True, repr=False)
class InputPrep(Record):
    """How an image that does not have the network's size is fitted to it.

    Parameters
    ----------
    mode : {"resize", "tile", "auto"}, default "resize"
        "auto", which runs take unless another is asked for, keeps the model's own ground size of a token: a larger
        place is tiled, a smaller one is seen with the imagery around it. "resize" scales the whole image to the
        network's size; "tile" cuts it into tiles of that size, and resizes a smaller image.
    tile_px : int, optional
        Side of a tile in pixels. Default: the network's size.
    stride_px : int, optional
        Distance between tiles in pixels, at most `tile_px`. Default: no overlap.
    max_tiles : int, default 2048
        Most tiles per image with "auto"; a place that takes more is refused when the run is planned.

    Raises
    ------
    SpecError, UnknownNameError
        If a value is not valid.

    Notes
    -----
    The names used by rs-embed, ``tile_size`` and ``tile_stride``, are accepted too.

    Examples
    --------
    >>> InputPrep("tile").mode
    'tile'
    """

    mode: str = "resize"
    tile_px: int | None = None
    stride_px: int | None = None
    max_tiles: int = 2048

    def __post_init__(self) -> None:
        choice("InputPrep.mode", self.mode, ("resize", "tile", "auto"))
        for name in ("tile_px", "stride_px"):
            value = getattr(self, name)
            if value is None:
                continue
            object.__setattr__(self, name, whole(f"InputPrep.{name}", value, low=1, high=_LARGEST_PX))
            if self.mode == "resize":
                fix = "use InputPrep.tile, or leave it out"
                raise SpecError(f"InputPrep.{name}", value=value, reason="resizing does not cut tiles", fix=fix)
        if self.tile_px is not None and self.stride_px is not None and self.stride_px > self.tile_px:
            reason = f"a stride larger than the tile, {self.tile_px} px, leaves gaps"
            fix = "use a stride of at most tile_px"
            raise SpecError("InputPrep.stride_px", value=self.stride_px, reason=reason, fix=fix)
        object.__setattr__(self, "max_tiles", whole("InputPrep.max_tiles", self.max_tiles, low=1, high=1_000_000))

    @classmethod
    def resize(cls) -> Self:
        """Scale the whole image to the network's size.

        Returns
        -------
        InputPrep
        """
        return cls("resize")

    @classmethod
    def tile(cls, tile_px: int | None = None, stride_px: int | None = None, **more: Any) -> Self:
        """Cut the image into tiles.

        Parameters
        ----------
        tile_px, stride_px : int, optional
            Side of a tile and distance between tiles, in pixels.
        **more
            ``max_tiles``, and the names used by rs-embed.

        Returns
        -------
        InputPrep
        """
        return cls("tile", tile_px=tile_px, stride_px=stride_px, **more)

    @classmethod
    def auto(cls, tile_px: int | None = None, stride_px: int | None = None, **more: Any) -> Self:
        """Never scale: tile what is larger than the network, and see what is smaller with the imagery around it.

        Parameters
        ----------
        tile_px, stride_px : int, optional
            Side of a tile and distance between tiles, in pixels.
        **more
            ``max_tiles``, and the names used by rs-embed.

        Returns
        -------
        InputPrep
        """
        return cls("auto", tile_px=tile_px, stride_px=stride_px, **more)


InputPrepSpec = InputPrep
