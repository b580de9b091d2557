"""What shape: one vector a place or a grid of them, and how an image meets a network of fixed size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs.base import Record, choice, positive, renamed, whole

__all__ = ["InputPrep", "InputPrepSpec", "OutputSpec"]

COARSEST_M: Final = 100_000.0
_LARGEST_PX: Final = 65_536


@dataclass(frozen=True, repr=False)
class OutputSpec(Record):
    """One vector a place, or a grid of vectors that is a map of it.

    Parameters
    ----------
    mode : {"pooled", "grid"}
        Which of the two.
    pooling : {"mean", "max", "cls"}, optional
        How the tokens become one vector; a grid has no use for it. Default: the vector that each model's authors use.
    scale_m : float, optional
        Resolution of the read in metres, the same as ``FetchSpec.resolution_m``. Default: the model's own.

    Raises
    ------
    SpecError, UnknownNameError
        Where a value cannot be used.

    Examples
    --------
    >>> OutputSpec.grid(scale_m=10).scale_m
    10.0
    """

    mode: str
    pooling: str | None = None
    scale_m: float | None = None

    def __post_init__(self) -> None:
        choice("OutputSpec.mode", self.mode, ("pooled", "grid"))
        if self.pooling is not None:
            choice("OutputSpec.pooling", self.pooling, ("mean", "max", "cls"))
        if self.mode == "grid" and self.pooling is not None:
            fix = "leave pooling out, or use OutputSpec.pooled"
            raise SpecError("OutputSpec.pooling", value=self.pooling, reason="a grid is not pooled", fix=fix)
        if self.scale_m is not None:
            scale_m = positive("OutputSpec.scale_m", self.scale_m, at_most=COARSEST_M, unit="m")
            object.__setattr__(self, "scale_m", scale_m)

    @classmethod
    def pooled(cls, pooling: str | None = None) -> Self:
        """Ask for one vector a place.

        Parameters
        ----------
        pooling : {"mean", "max", "cls"}, optional
            Mean or largest value over the tokens, or the class token. Default: the vector that each model's authors
            use, the first that its card names: the mean of most, the class token of Clay and TerraFM.

        Returns
        -------
        OutputSpec
        """
        return cls("pooled", pooling)

    @classmethod
    def grid(cls, scale_m: float | None = None) -> Self:
        """Ask for a vector a patch, as a map (D, h, w).

        Parameters
        ----------
        scale_m : float, optional
            Resolution of the read in metres. Default: the model's own.

        Returns
        -------
        OutputSpec
        """
        return cls("grid", scale_m=scale_m)


@renamed(tile_size="tile_px", tile_stride="stride_px")
@dataclass(frozen=True, repr=False)
class InputPrep(Record):
    """How an image that has not the network's size is brought to it.

    Parameters
    ----------
    mode : {"resize", "tile", "auto"}, default "resize"
        "resize" scales the whole image; "tile" cuts it into tiles of the network's size; "auto" tiles where that takes
        at most `max_tiles` and resizes otherwise.
    tile_px : int, optional
        Side of a tile in pixels. Default: the network's size.
    stride_px : int, optional
        Pixels from tile to tile, at most `tile_px`. Default: no overlap.
    max_tiles : int, default 64
        Most tiles of one image.

    Raises
    ------
    SpecError, UnknownNameError
        Where a value cannot be used.

    Notes
    -----
    The names of rs-embed, ``tile_size`` and ``tile_stride``, are understood too.
    """

    mode: str = "resize"
    tile_px: int | None = None
    stride_px: int | None = None
    max_tiles: int = 64

    def __post_init__(self) -> None:
        choice("InputPrep.mode", self.mode, ("resize", "tile", "auto"))
        for name in ("tile_px", "stride_px"):
            value = getattr(self, name)
            if value is None:
                continue
            object.__setattr__(self, name, whole(f"InputPrep.{name}", value, low=1, high=_LARGEST_PX))
            if self.mode == "resize":
                fix = "use InputPrep.tile, or leave it out"
                raise SpecError(f"InputPrep.{name}", value=value, reason="resizing cuts no tiles", fix=fix)
        if self.tile_px is not None and self.stride_px is not None and self.stride_px > self.tile_px:
            reason = f"a stride above the tile, {self.tile_px} px, leaves gaps"
            fix = "take a stride of at most tile_px"
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
            Side of a tile and the way from tile to tile, in pixels.
        **more
            ``max_tiles``, and the names of rs-embed.

        Returns
        -------
        InputPrep
        """
        return cls("tile", tile_px=tile_px, stride_px=stride_px, **more)

    @classmethod
    def auto(cls, tile_px: int | None = None, stride_px: int | None = None, **more: Any) -> Self:
        """Cut the image into tiles where they are few, else scale it.

        Parameters
        ----------
        tile_px, stride_px : int, optional
            Side of a tile and the way from tile to tile, in pixels.
        **more
            ``max_tiles``, and the names of rs-embed.

        Returns
        -------
        InputPrep
        """
        return cls("auto", tile_px=tile_px, stride_px=stride_px, **more)


InputPrepSpec = InputPrep
