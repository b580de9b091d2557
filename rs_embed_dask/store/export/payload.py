"""rs-embed's files: named arrays as npz or netCDF, each with its manifest beside it."""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib.util
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from rs_embed_dask.errors import StoreError, UnknownNameError
from rs_embed_dask.store.export.whole import whole_file
from rs_embed_dask.store.receipt import package_version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "ENDINGS",
    "Arrays",
    "array_entry",
    "now",
    "produced_by",
    "sanitised",
    "state_of",
    "summary",
    "write_netcdf",
    "write_payload",
]

Arrays = Mapping[str, "NDArray[Any] | xr.DataArray"]
"""Arrays by their key; lazy ones are written chunk by chunk."""

ENDINGS: Final = {"npz": ".npz", "netcdf": ".nc"}
_DIGESTED: Final = 2_000_000
_DIMS: Final = (
    ("inputs_bchw__", ("point", "band", "y", "x")),
    ("input_chw__", ("band", "y", "x")),
    ("embeddings__", ("point", "dim", "y", "x")),
    ("embedding__", ("dim", "y", "x")),
)


def sanitised(name: str) -> str:
    """Return a model's name as keys have it: letters, digits and single underscores."""
    return re.sub(r"_+", "_", re.sub(r"[^0-9a-zA-Z_]+", "_", name)).strip("_") or "item"


def now() -> str:
    """Return the time in UTC, as manifests have it."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def produced_by() -> dict[str, str]:
    """Return what a manifest says of the program that made it."""
    return {"package": "rs-embed-dask", "package_version": package_version()}


def array_entry(key: str, array: NDArray[Any]) -> dict[str, Any]:
    """Describe an array: its key, type, shape and a digest of its first two megabytes."""
    digest = hashlib.sha1(usedforsecurity=False)
    for part in (str(array.dtype).encode(), str(array.shape).encode(), array.tobytes()[:_DIGESTED]):
        digest.update(part)
    return {
        "npz_key": key,
        "dtype": str(array.dtype),
        "shape": [int(side) for side in array.shape],
        "sha1": digest.hexdigest(),
    }


def state_of(entries: Sequence[Mapping[str, Any]]) -> str:
    """Sum up models or items in one word: ok, partial or failed."""
    states = [entry["status"] for entry in entries]
    if not set(states) - {"ok"}:
        return "ok"
    return "failed" if set(states) == {"failed"} else "partial"


def summary(entries: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count the models of a manifest."""
    failed = sum(entry["status"] == "failed" for entry in entries)
    return {"total_models": len(entries), "failed_models": failed, "ok_models": len(entries) - failed}


def write_netcdf(data: xr.Dataset | xr.DataTree, file: str | Path) -> None:
    """Write a netCDF-4 file, chunk by chunk.

    One chunk is read while another is written, by threads of this process: the library writes one at a time, so more
    threads would only hold more chunks, and the processes of a cluster may not see the file.
    """
    if importlib.util.find_spec("netCDF4") is None:
        reason = "the library netCDF4 is not installed"
        raise StoreError("export", value=str(file), reason=reason, fix="pip install netCDF4")
    with whole_file(file) as partial:
        # Dask's settings are those of the whole process: exports that overlap would leave theirs behind
        data.to_netcdf(partial, engine="netcdf4", compute=False).compute(scheduler="threads", num_workers=2)


def write_payload(
    path: str | Path, arrays: Arrays, manifest: Mapping[str, Any], *, kind: str = "npz", save_manifest: bool = True
) -> dict[str, Any]:
    """Write arrays and then their manifest, each whole; return the manifest with the paths."""
    if kind not in ENDINGS:
        raise UnknownNameError.among("format", kind, ENDINGS)
    ending = ENDINGS[kind]
    file = str(path) if str(path).endswith(ending) else f"{path}{ending}"
    Path(file).expanduser().parent.mkdir(parents=True, exist_ok=True)
    written = dict(manifest)
    if kind == "npz":
        _write_npz(file, arrays)
        written |= {"npz_path": file, "npz_keys": sorted(arrays)}
    else:
        _write_netcdf(file, arrays, manifest)
        written |= {"nc_path": file, "nc_variables": sorted(arrays)}
    if save_manifest:
        written["manifest_path"] = str(Path(file).with_suffix(".json"))
        with whole_file(written["manifest_path"]) as partial:
            partial.write_text(json.dumps(written, ensure_ascii=False, indent=2), encoding="utf-8")
    return written


def _write_npz(file: str, arrays: Arrays) -> None:
    """Write what ``numpy.savez_compressed`` writes, a block at a time."""
    with whole_file(file) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, array in arrays.items():
            dtype = np.dtype(array.dtype)
            header = {"descr": dtype.str, "fortran_order": False, "shape": tuple(map(int, array.shape))}
            with archive.open(f"{key}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array_header_2_0(entry, header)
                for block in _blocks(array):
                    entry.write(np.ascontiguousarray(block, dtype).tobytes())


def _blocks(array: NDArray[Any] | xr.DataArray) -> Iterator[NDArray[Any]]:
    """Cut an array along its first axis into its chunks."""
    if isinstance(array, np.ndarray) or not array.chunks:
        yield np.asarray(array)
        return
    start = 0
    for rows in array.chunks[0]:
        yield array[start : start + rows].to_numpy()
        start += rows


def _write_netcdf(file: str, arrays: Arrays, manifest: Mapping[str, Any]) -> None:
    sizes: dict[str, int] = {}
    variables = {
        key: (_dims(key, array.shape, sizes), array if isinstance(array, np.ndarray) else array.data)
        for key, array in arrays.items()
    }
    attrs: dict[str, Any] = {"Conventions": "CF-1.8", "history": "rs-embed-dask, in the layout of rs-embed"}
    attrs |= {name: str(manifest[name]) for name in ("created_at", "backend", "device") if manifest.get(name)}
    attrs |= {name: int(manifest[name]) for name in ("n_items",) if name in manifest}
    write_netcdf(xr.Dataset(variables, attrs=attrs), file)


def _dims(key: str, shape: tuple[int, ...], sizes: dict[str, int]) -> tuple[str, ...]:
    """Name the axes of an array; an axis whose name has another length elsewhere gets the key as a suffix."""
    names = next((dims for start, dims in _DIMS if key.startswith(start)), ())[: len(shape)]
    if len(names) < len(shape):
        names = tuple(f"d{axis}" for axis in range(len(shape)))
    unique = []
    for name, size in zip(names, shape, strict=True):
        own = name if sizes.setdefault(name, size) == size else f"{name}__{key}"
        sizes.setdefault(own, size)
        unique.append(own)
    return tuple(unique)
