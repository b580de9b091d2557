"""rs-embed's values for exports and for data of one's own."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.compat.specs import FetchSpec, InputPrepSpec, SensorSpec, SpatialSpec, TemporalSpec
from rs_embed_dask.errors import SpecError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "ExportConfig",
    "ExportLayout",
    "ExportModelRequest",
    "ExportTarget",
    "ModelConfig",
    "UserData",
]

_AXES: Final = (3, 4)


class ExportLayout(enum.Enum):
    """How an export is laid out: all items in one file, or a file per item."""

    COMBINED = "combined"
    PER_ITEM = "per_item"


@dataclass(frozen=True)
class ExportTarget:
    """Where an export is written."""

    layout: ExportLayout
    out_file: str | None = None
    out_dir: str | None = None
    names: list[str] | None = None

    @classmethod
    def combined(cls, out_file: str) -> ExportTarget:
        """Write all items to one file."""
        return cls(ExportLayout.COMBINED, out_file=out_file)

    @classmethod
    def per_item(cls, out_dir: str, *, names: list[str] | None = None) -> ExportTarget:
        """Write a file per item to a folder: ``p00000``, or the names given."""
        return cls(ExportLayout.PER_ITEM, out_dir=out_dir, names=names)


@dataclass(frozen=True)
class ExportConfig:
    """How an export is computed and written; the fields are those of rs-embed."""

    format: str = "npz"
    save_inputs: bool = True
    save_embeddings: bool = True
    save_manifest: bool = True
    fail_on_bad_input: bool = False
    chunk_size: int = 16
    infer_batch_size: int | None = None
    num_workers: int = 8
    continue_on_error: bool = False
    max_retries: int = 0
    retry_backoff_s: float = 0.0
    async_write: bool = True
    writer_workers: int = 2
    resume: bool = False
    show_progress: bool = True
    input_prep: InputPrepSpec | str | None = None

    @property
    def effective_infer_batch_size(self) -> int:
        """Items in one batch."""
        return max(1, int(self.infer_batch_size or self.chunk_size))

    @property
    def effective_chunk_size(self) -> int:
        """Items that are read ahead."""
        return max(1, int(self.chunk_size))


@dataclass(frozen=True)
class ExportModelRequest:
    """One model of an export with its own choices."""

    name: str
    sensor: SensorSpec | None = None
    fetch: FetchSpec | None = None
    modality: str | None = None
    model_config: dict[str, Any] | None = None

    @classmethod
    def configure(
        cls,
        name: str,
        *,
        sensor: SensorSpec | None = None,
        fetch: FetchSpec | None = None,
        modality: str | None = None,
        **model_kwargs: Any,
    ) -> ExportModelRequest:
        """Give the model's own options as keywords."""
        return cls(name, sensor, fetch, modality, model_kwargs or None)


@dataclass(frozen=True)
class ModelConfig:
    """One model of a `BatchExporter`."""

    name: str
    backend: str
    sensor: SensorSpec | None = None
    model_config: dict[str, Any] | None = None
    model_type: str = ""

    @property
    def is_precomputed(self) -> bool:
        """Whether its vectors are read, not computed."""
        return "precomputed" in self.model_type.lower()


@dataclass(frozen=True, eq=False)
class UserData:
    """Pixels of one's own, as the provider's collection has them: (C, H, W) or (T, C, H, W)."""

    data: NDArray[Any]
    collection: str
    spatial: SpatialSpec | None = None
    bands: tuple[str, ...] | None = None
    temporal: TemporalSpec | None = None
    scale_m: int | None = None
    crs: str | None = None
    transform: Any | None = None

    @classmethod
    def from_raster(
        cls, path: str, *, collection: str, bands: tuple[str, ...] | None = None, temporal: TemporalSpec | None = None
    ) -> UserData:
        """Read a raster file: pixels as stored, with its CRS and affine."""
        import rasterio

        with rasterio.open(path) as image:
            crs, transform = image.crs, image.transform
            size = round(image.res[0]) if crs is not None and crs.is_projected and image.res[0] >= 1 else None
            pixels = image.read()
        where = {} if crs is None else {"crs": crs.to_string(), "transform": transform}
        return cls(pixels, collection, bands=bands, temporal=temporal, scale_m=size, **where)

    def validate(self) -> None:
        """Refuse what contradicts itself. Raises SpecError."""
        shape = np.shape(self.data)
        named = self.bands is None or (len(self.bands) > 0 and all(str(one or "").strip() for one in self.bands))
        checks = (
            ("collection", self.collection, bool(str(self.collection or "").strip()), "it is empty", "name one"),
            ("bands", self.bands, named, "a name is missing", "name each band, or leave bands out"),
            ("data", shape, len(shape) in _AXES, "it is not (C, H, W) or (T, C, H, W)", "give such an array"),
            ("scale_m", self.scale_m, self.scale_m is None or self.scale_m > 0, "it is not above 0", "give metres"),
            ("crs", self.crs, (self.crs is None) == (self.transform is None), "crs and transform go together",
             "give both, or none"),
        )  # fmt: skip
        for name, value, is_right, reason, fix in checks:
            if not is_right:
                raise SpecError(f"UserData.{name}", value=value, reason=reason, fix=fix)
        if self.bands is not None and shape[-3] != len(self.bands):
            reason = f"the array has {shape[-3]} bands"
            raise SpecError("UserData.bands", value=self.bands, reason=reason, fix="name each band of the array")
        if self.transform is not None and not all(hasattr(self.transform, name) for name in "abcdef"):
            fix = "give an affine.Affine, as rasterio has it"
            raise SpecError("UserData.transform", value=self.transform, reason="it is no affine", fix=fix)
