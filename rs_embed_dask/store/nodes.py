"""Groups and arrays of any store: made, grown, opened."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import zarr
from zarr.codecs import ZstdCodec
from zarr.storage import StorePath

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store.document import ROOT_KEY, explained, group_document
from rs_embed_dask.store.receipt import strict_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from rs_embed_dask.store.document import Location
    from rs_embed_dask.store.layout import Field

__all__ = [
    "array_document",
    "arrays_at",
    "check_vacant",
    "grow",
    "make_array",
    "make_group",
    "open_array",
    "put_array",
]


def arrays_at(arrays: Mapping[str, zarr.Array[Any]], location: Location) -> Mapping[str, zarr.Array[Any]]:
    """Return arrays as another way into their store reaches them, such as that behind a fence."""
    if all(array.store is location.storage for array in arrays.values()):
        return arrays
    paths = {name: StorePath(location.storage, array.path) for name, array in arrays.items()}
    moved: dict[str, Any] = {
        name: zarr.Array(zarr.AsyncArray[Any](arrays[name].metadata, path)) for name, path in paths.items()
    }
    return {name: one.with_config({"write_empty_chunks": True}) for name, one in moved.items()}


def check_vacant(location: Location, names: Sequence[str], is_ready: bool | None) -> None:  # noqa: FBT001
    """Refuse a place with a finished store, or with anything that is no store (`is_ready` is None)."""
    if is_ready:
        fix = "open it to go on, or choose another path"
        raise StoreError("store", value=location.name, reason="there is a finished store already", fix=fix)
    if is_ready is None and names:
        reason = f"the folder is not empty and holds no store (it has {', '.join(names[:3])})"
        raise StoreError("store", value=location.name, reason=reason, fix="choose a new or an empty folder")


def make_group(location: Location, path: str, attributes: dict[str, Any]) -> None:
    """Make one group."""
    location.write(f"{path}/{ROOT_KEY}", json.dumps(group_document(attributes), indent=1).encode())


def make_array(location: Location, path: str, field: Field, **storing: Any) -> None:
    """Make one array, with zstd unless another compressor is given."""
    dtype: Any = str if field.kind == "text" else "int32" if field.kind == "day" else field.dtype
    with explained("store array", f"{location.name}/{path}", "check the disk's space and that the path can be written"):
        zarr.create_array(
            location.storage,
            name=path,
            dtype=dtype,
            fill_value=field.fill_value,
            attributes=field.all_attrs,
            dimension_names=field.dims,
            overwrite=True,
            **({"compressors": [ZstdCodec(level=1, checksum=True)]} | storing),
        )


def array_document(location: Location, path: str) -> dict[str, Any]:
    """Read the Zarr metadata of an array or group."""
    content = location.read(f"{path}/{ROOT_KEY}")
    if content is None:
        fix = "restore it, or make the store anew"
        raise StoreError("store array", value=f"{location.name}/{path}", reason="it is missing", fix=fix)
    try:
        document: dict[str, Any] = strict_json(content)
    except ValueError as error:
        reason, fix = f"its metadata are garbled ({error})", "verify the store with repair=True, or restore the file"
        raise StoreError("store array", value=f"{location.name}/{path}", reason=reason, fix=fix) from error
    return document


def put_array(location: Location, path: str, field: Field, *, values: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Make an array of one chunk with its values, and return its metadata."""
    make_array(location, path, field, shape=values.shape, chunks=values.shape)
    with explained("store array", f"{location.name}/{path}", "check the disk's space"):
        open_array(location, path)[...] = values
    return array_document(location, path)


def grow(location: Location, path: str, rows: int) -> None:
    """Make an array longer along its first axis."""
    content = array_document(location, path)
    content["shape"][0] = rows
    location.write(f"{path}/{ROOT_KEY}", json.dumps(content, indent=2).encode())


def open_array(location: Location, path: str) -> zarr.Array[Any]:
    """Open one array to write."""
    with explained("store array", f"{location.name}/{path}", "restore it, or make the store anew"):
        return zarr.open_array(location.storage, path=path, mode="r+")
