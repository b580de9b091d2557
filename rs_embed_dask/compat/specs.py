"""rs-embed's specs with their fields and defaults, each turned into ours for the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs import BBox, PointBuffer, Polygon, TemporalSpec
from rs_embed_dask.specs.base import Record, choice, whole

__all__ = [
    "BBox",
    "FetchSpec",
    "InputPrepSpec",
    "OutputSpec",
    "PointBuffer",
    "SensorSpec",
    "SpatialSpec",
    "TemporalSpec",
]

SpatialSpec: TypeAlias = BBox | PointBuffer | Polygon
_Composite: TypeAlias = Literal["median", "mosaic"]
_Orientation: TypeAlias = Literal["north_up", "native"]
_LARGEST: Final = 1_000_000
_SNAPS: Final = (0.0, 0.1)


@dataclass(frozen=True, repr=False)
class SensorSpec(Record):
    """Which collection and bands a model reads, and how; the fields are those of rs-embed."""

    collection: str
    bands: tuple[str, ...]
    scale_m: int = 10
    cloudy_pct: int = 30
    fill_value: float = 0.0
    composite: _Composite = "median"
    modality: str | None = None
    orbit: str | None = None
    use_float_linear: bool = True
    s1_require_iw: bool = True
    s1_relax_iw_on_empty: bool = True
    check_input: bool = False
    check_raise: bool = True
    check_save_dir: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "bands", tuple(self.bands))


@dataclass(frozen=True, repr=False)
class FetchSpec(Record):
    """How pixels are read, where it differs from the model's own way; the fields are those of rs-embed."""

    scale_m: int | None = None
    cloudy_pct: int | None = None
    fill_value: float | None = None
    composite: _Composite | None = None


@dataclass(frozen=True, repr=False)
class OutputSpec(Record):
    """One vector per place, or a grid of them; the fields are those of rs-embed. Grids are always north up."""

    mode: Literal["grid", "pooled"]
    pooling: Literal["mean", "max"] = "mean"
    grid_orientation: _Orientation = "north_up"

    def __post_init__(self) -> None:
        choice("OutputSpec.mode", self.mode, ("grid", "pooled"))
        choice("OutputSpec.pooling", self.pooling, ("mean", "max"))
        choice("OutputSpec.grid_orientation", self.grid_orientation, ("north_up", "native"))

    @staticmethod
    def grid(*, grid_orientation: _Orientation = "north_up", **kwargs: object) -> OutputSpec:
        """Ask for a grid of vectors."""
        _refuse(kwargs)
        return OutputSpec("grid", grid_orientation=grid_orientation)

    @staticmethod
    def pooled(pooling: Literal["mean", "max"] = "mean", **kwargs: object) -> OutputSpec:
        """Ask for one vector."""
        _refuse(kwargs)
        return OutputSpec("pooled", pooling)

    pool = pooled


def _refuse(more: dict[str, Any]) -> None:
    for name, value in more.items():
        fix = "use fetch=FetchSpec(scale_m=...)" if name == "scale_m" else "leave it out"
        raise SpecError(f"OutputSpec.{name}", value=value, reason="rs-embed has no such option", fix=fix)


@dataclass(frozen=True, repr=False)
class InputPrepSpec(Record):
    """How an image of another size than the model's is fitted to it; the fields are those of rs-embed."""

    mode: Literal["auto", "resize", "tile"] = "tile"
    tile_size: int | None = None
    tile_stride: int | None = None
    max_tiles: int = 64
    max_tiles_hard: int = 1024
    pad_edges: bool = True
    tile_snap_frac: float = 0.1

    def __post_init__(self) -> None:
        choice("InputPrepSpec.mode", self.mode, ("auto", "resize", "tile"))
        for name in ("max_tiles", "max_tiles_hard"):
            whole(f"InputPrepSpec.{name}", getattr(self, name), low=1, high=_LARGEST)
        for name in ("tile_size", "tile_stride"):
            if getattr(self, name) is not None:
                whole(f"InputPrepSpec.{name}", getattr(self, name), low=1, high=_LARGEST)
        if not self.pad_edges or self.tile_snap_frac not in _SNAPS:
            name = "tile_snap_frac" if self.pad_edges else "pad_edges"
            reason = "no tile is padded or stretched here: the last of a row is shifted back"
            raise SpecError(f"InputPrepSpec.{name}", value=getattr(self, name), reason=reason, fix="leave it out")

    @staticmethod
    def auto(
        *,
        tile_size: int | None = None,
        tile_stride: int | None = None,
        max_tiles: int = 64,
        max_tiles_hard: int = 1024,
        pad_edges: bool = True,
        tile_snap_frac: float = 0.1,
    ) -> InputPrepSpec:
        """Cut into tiles where that takes at most `max_tiles`, else resize."""
        return InputPrepSpec("auto", tile_size, tile_stride, max_tiles, max_tiles_hard, pad_edges, tile_snap_frac)

    @staticmethod
    def resize() -> InputPrepSpec:
        """Scale the whole image to the model's size."""
        return InputPrepSpec("resize")

    @staticmethod
    def tile(
        *,
        tile_size: int | None = None,
        tile_stride: int | None = None,
        max_tiles: int = 64,
        max_tiles_hard: int = 1024,
        pad_edges: bool = True,
        tile_snap_frac: float = 0.1,
    ) -> InputPrepSpec:
        """Cut into tiles of the model's size."""
        return InputPrepSpec("tile", tile_size, tile_stride, max_tiles, max_tiles_hard, pad_edges, tile_snap_frac)
