"""rs-embed's batch export: many places by many models, as npz or netCDF in its two layouts, with inputs where asked."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.compat.inspection import checked, cubes_of, pixels_of, report_of
from rs_embed_dask.compat.records import ExportConfig, ExportLayout, ExportModelRequest, ExportTarget, ModelConfig
from rs_embed_dask.compat.requests import Asked, How, ask, items_of, plans_of, results_of
from rs_embed_dask.compat.specs import FetchSpec, InputPrepSpec, OutputSpec, SensorSpec, SpatialSpec, TemporalSpec
from rs_embed_dask.engine.local import embedding_of
from rs_embed_dask.engine.recipe import READ_RETRY
from rs_embed_dask.errors import ModelError, RsEmbedError, SpecError, UnknownNameError
from rs_embed_dask.store.export.payload import (
    ENDINGS,
    array_entry,
    now,
    produced_by,
    sanitised,
    state_of,
    summary,
    write_payload,
)
from rs_embed_dask.store.export.rs_embed import reference_place

if TYPE_CHECKING:
    from collections.abc import Callable

    from rs_embed_dask.engine.local import ItemResult
    from rs_embed_dask.engine.plan import Plan
    from rs_embed_dask.store import ItemColumns

__all__ = ["BatchExporter", "export_batch"]

_POOLED: Final = OutputSpec.pooled()
_CONFIG: Final = ExportConfig()
_CONTENT: Final = ("format", "save_inputs", "save_embeddings")
"""What changes a file, of the configuration."""
_OLD: Final = {
    **{name: name for name in ("save_inputs", "save_embeddings", "resume", "show_progress", "save_manifest", "format")},
    **{name: name for name in ("chunk_size", "num_workers", "continue_on_error", "max_retries", "retry_backoff_s")},
    **{name: name for name in ("infer_batch_size", "fail_on_bad_input", "async_write", "writer_workers")},
}
"""Arguments of the earlier form, which are fields of the configuration now."""


def export_batch(
    *,
    spatials: list[SpatialSpec],
    temporal: TemporalSpec | None,
    models: list[str | ExportModelRequest],
    target: ExportTarget | None = None,
    config: ExportConfig = _CONFIG,
    backend: str = "auto",
    device: str = "auto",
    output: OutputSpec = _POOLED,
    sensor: SensorSpec | None = None,
    fetch: FetchSpec | None = None,
    modality: str | None = None,
    input_prep: InputPrepSpec | str | None = None,
    **earlier: Any,
) -> list[dict[str, Any]] | dict[str, Any]:
    """Embed places by models and write arrays with manifests, as rs-embed's function of this name does.

    Everything is computed in this process, a batch at a time; `compute_embeddings` is for clusters and Zarr stores.

    Parameters
    ----------
    spatials : list of BBox, PointBuffer or Polygon
        The places.
    temporal : TemporalSpec, optional
        The span. Default: the last full year, with a warning.
    models : list of str, ExportModelRequest or ModelSpec
        The models.
    target : ExportTarget
        One file for all, or a folder with a file per item.
    config : ExportConfig
        The format, what is saved, and what happens on errors.
    backend, device, output, sensor, fetch, modality, input_prep
        As of `get_embedding` in `rs_embed_dask.compat`; what a model's own request states takes precedence.
    **earlier
        The earlier form: ``out=`` and ``layout="per_item"`` or ``"combined"`` instead of `target`, and the fields of
        `config`, such as ``save_inputs=`` and ``resume=``.

    Returns
    -------
    dict or list of dict
        The manifest of a combined export; else one for each item. `load_export` reads either.

    Raises
    ------
    SpecError, UnknownNameError
        If an argument is invalid.
    RsEmbedError
        The first failure, unless ``config.continue_on_error``.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> rs.export_batch(
    ...     spatials=[rs.PointBuffer(lon=4.5, lat=50.7, buffer_m=1280)],
    ...     temporal=rs.TemporalSpec.year(2022),
    ...     models=["remoteclip", "prithvi"],
    ...     out="vectors",
    ...     layout="combined",
    ... )  # doctest: +SKIP
    """
    place, chosen = _earlier(target, config, dict(earlier))
    if input_prep is not None and chosen.input_prep is not None:
        fix = "give one of the two"
        raise SpecError("input_prep", value=input_prep, reason="config.input_prep was given too", fix=fix)
    shared = {"sensor": sensor, "fetch": fetch, "modality": modality}
    asked = [_asked(model, shared, device) for model in models]
    how = How(output, input_prep if input_prep is not None else chosen.input_prep, backend)
    return _Export(spatials, temporal, asked, place, chosen, how, device).run()


def _earlier(
    target: ExportTarget | None, config: ExportConfig, earlier: dict[str, Any]
) -> tuple[ExportTarget, ExportConfig]:
    """Turn the arguments of the earlier form into a target and a configuration."""
    out, layout = earlier.pop("out", None), earlier.pop("layout", None)
    names = earlier.pop("names", None)
    for name in earlier:
        if name not in _OLD:
            raise UnknownNameError.among("option", name, ("out", "layout", *_OLD))
    if (target is None) == (out is None):
        reason = "nothing states where to write" if target is None else "target= was given too"
        fix = "give target=ExportTarget.combined(FILE) or ExportTarget.per_item(FOLDER)"
        raise SpecError("out", value=out, reason=reason, fix=fix)
    if target is None:
        places = {"per_item": ExportTarget.per_item(str(out), names=names), "combined": ExportTarget.combined(str(out))}
        chosen = layout or ("combined" if str(out).endswith(tuple(ENDINGS.values())) else "per_item")
        if chosen not in places:
            raise UnknownNameError.among("layout", chosen, places)
        target = places[chosen]
    return target, replace(config, **earlier)


def _asked(model: Any, shared: Mapping[str, Any], device: str) -> Asked:
    if not isinstance(model, ExportModelRequest):
        return ask(model, sensor=shared["sensor"], fetch=shared["fetch"], modality=shared["modality"], device=device)
    own = {"sensor": model.sensor, "fetch": model.fetch}
    source = own if any(own.values()) else {name: shared[name] for name in own}
    return ask(model.name, model.model_config, **source, modality=model.modality or shared["modality"], device=device)


class BatchExporter:
    """What `export_batch` does, in two steps; the arguments are those of rs-embed."""

    def __init__(
        self,
        *,
        spatials: list[SpatialSpec],
        temporal: TemporalSpec | None,
        models: list[ModelConfig],
        target: ExportTarget,
        output: OutputSpec,
        config: ExportConfig,
        backend: str,
        resolved_backend: dict[str, str],
        device: str,
        provider_factory: Callable[[], Any] | None = None,
        fetch_fn: Callable[..., np.ndarray[Any, Any]] | None = None,
        inspect_fn: Callable[..., dict[str, Any]] | None = None,
        progress_factory: Callable[..., Any] | None = None,
    ) -> None:
        inner = {"fetch_fn": fetch_fn, "inspect_fn": inspect_fn, "progress_factory": progress_factory}
        for name, function in inner.items():
            if function is not None:
                fix = "leave it out, or give a provider of your own by provider_factory="
                raise SpecError(name, value=function, reason="it replaces a part that rs-embed has inside", fix=fix)
        asked = [ask(one.name, one.model_config, sensor=one.sensor, device=device) for one in models]
        named = {*resolved_backend.values(), *(one.backend for one in models), backend} - {"", "auto"}
        if len(named) > 1 and provider_factory is None:
            reason, fix = "all models of an export are read from one", "export the models of each backend by themselves"
            raise SpecError("backend", value=sorted(named), reason=reason, fix=fix)
        source: Any = provider_factory() if provider_factory else next(iter(sorted(named)), "auto")
        how = How(output, config.input_prep, source)
        self._export = _Export(spatials, temporal, asked, target, config, how, device)

    def run(self) -> list[dict[str, Any]] | dict[str, Any]:
        """Export, and return the manifest or manifests."""
        return self._export.run()


@dataclass(frozen=True, eq=False)
class _Export:
    """One export with all that it is told."""

    spatials: Any
    temporal: Any
    asked: list[Asked]
    target: ExportTarget
    config: ExportConfig
    how: How
    device: str

    def run(self) -> list[dict[str, Any]] | dict[str, Any]:
        """Write an item at a time; a combined export puts them together at the end."""
        names = [one.name for one in self.asked]
        keys = [sanitised(name) for name in names]
        if len({*keys}) < len(keys) or not names:
            reason = "a model is listed twice, or two have one key" if names else "there is no model"
            fix = "list each model once; satmae++ is satmaepp too"
            raise SpecError("models", value=names, reason=reason, fix=fix)
        if self.config.format not in ENDINGS:
            raise UnknownNameError.among("format", self.config.format, ENDINGS)
        items = items_of(self.spatials, self.temporal, self.asked)
        if self.target.layout is ExportLayout.PER_ITEM:
            paths = self._paths(Path(str(self.target.out_dir)).expanduser(), len(items))
            return self._items(items, paths, self.config)
        return self._combined(items)

    def _paths(self, folder: Path, count: int) -> list[Path]:
        names = self.target.names or [f"p{number:05d}" for number in range(count)]
        if len(set(names)) != count:
            reason = f"there are {count} items"
            raise SpecError("names", value=names, reason=reason, fix="give a name of its own to each item")
        return [folder / str(name) for name in names]

    def _combined(self, items: ItemColumns) -> dict[str, Any]:
        ending = ENDINGS[self.config.format]
        given = str(self.target.out_file)
        file = Path(given if given.endswith(ending) else f"{given}{ending}").expanduser()
        mark = self._fingerprint(items, range(len(items)))
        done = _finished(file, mark) if self.config.resume else None
        if done is not None:
            return done
        parts = file.with_name(f".{file.name}.parts")
        if not self.config.resume:
            shutil.rmtree(parts, ignore_errors=True)
        kept = replace(self.config, format="npz", save_manifest=True)
        manifests = self._items(items, [parts / f"p{row:05d}" for row in range(len(items))], kept)
        manifest, arrays = _together(manifests, [one.name for one in self.asked])
        head = self._head() | {"stage": "done", "n_items": len(items), "request_fingerprint": mark}
        head |= {"spatials": [reference_place(item.spatial.to_json()) for item in items]}
        head |= {"temporal": items.spans[0].to_dict()}
        written = write_payload(
            file, arrays, head | manifest, kind=self.config.format, save_manifest=self.config.save_manifest
        )
        shutil.rmtree(parts, ignore_errors=True)
        return written

    def _head(self) -> dict[str, Any]:
        told = {"created_at": now(), "backend": str(getattr(self.how.backend, "name", self.how.backend))}
        return told | {"device": self.device, "output": self.how.output.to_dict()} | produced_by()

    def _fingerprint(self, items: ItemColumns, rows: Sequence[int]) -> str:
        """Digest all that determines a file's content."""
        told = {
            "models": [one.to_dict() for one in self.asked],
            "items": [[items[row].spatial.to_dict(), items[row].temporal.to_dict()] for row in rows],
            "output": self.how.output.to_dict(),
            "prep": self.how.prep
            if self.how.prep is None or isinstance(self.how.prep, str)
            else self.how.prep.to_dict(),
            "backend": str(getattr(self.how.backend, "name", self.how.backend)),
            "config": [getattr(self.config, name) for name in _CONTENT],
        }
        return hashlib.sha1(json.dumps(told, sort_keys=True).encode(), usedforsecurity=False).hexdigest()

    def _items(self, items: ItemColumns, paths: Sequence[Path], config: ExportConfig) -> list[dict[str, Any]]:
        """Write what is not there yet; return the manifests in order."""
        marks = [self._fingerprint(items, [row]) for row in range(len(items))]
        ending, manifests = ENDINGS[config.format], {}
        if config.resume:
            found = {
                row: _finished(path.with_name(f"{path.name}{ending}"), marks[row]) for row, path in enumerate(paths)
            }
            manifests = {row: one for row, one in found.items() if one is not None}
        left = [row for row in range(len(items)) if row not in manifests]
        for place, (entries, arrays) in enumerate(self._computed(items, left) if left else ()):
            row = left[place]
            manifest = self._head() | {"point_index": row, "status": state_of(entries), "models": entries}
            manifest |= {"spatial": reference_place(items[row].spatial.to_json())}
            manifest |= {"temporal": items.spans[row].to_dict(), "summary": summary(entries)}
            manifest["request_fingerprint"] = marks[row]
            manifests[row] = write_payload(
                paths[row], arrays, manifest, kind=config.format, save_manifest=config.save_manifest
            )
        return [manifests[row] for row in sorted(manifests)]

    def _computed(
        self, items: ItemColumns, rows: Sequence[int]
    ) -> Iterator[tuple[list[dict[str, Any]], dict[str, Any]]]:
        """Compute items: their entries in the manifest, in the order of the models, and their arrays."""
        from rich.progress import track

        taken = items.take(np.asarray(rows))
        groups: dict[Any, list[Asked]] = {}
        for one in self.asked:
            groups.setdefault(one.kind, []).append(one)
        retries, wait_s = self.config.max_retries, self.config.retry_backoff_s
        retry = replace(READ_RETRY, attempts=1 + retries) if retries else READ_RETRY
        if wait_s:
            retry = replace(retry, first_wait_s=wait_s, longest_wait_s=max(wait_s, retry.longest_wait_s))
        how = replace(self.how, batch_items=self.config.effective_infer_batch_size, retry=retry)
        streams = [(group, results_of(plans_of(group, taken, how))) for group in groups.values()]
        for _ in track(range(len(rows)), "export", disable=not self.config.show_progress, transient=True):
            entries: dict[str, dict[str, Any]] = {}
            arrays: dict[str, Any] = {}
            for group, stream in streams:
                _, plan, result = next(stream)
                for number, one in enumerate(group):
                    entries[one.name], own = self._entry(one, result, plan, number)
                    arrays |= own
            yield [entries[one.name] for one in self.asked], arrays

    def _entry(self, one: Asked, result: ItemResult, plan: Plan, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what the manifest says of a model and an item, and the arrays."""
        told: dict[str, Any] = {"model": one.name, "status": "ok"}
        told |= {"sensor": None if one.sensor is None else one.sensor.to_dict()}
        arrays: dict[str, Any] = {}
        told |= {"input": None, "embedding": None, "meta": None}
        try:
            cubes = cubes_of(result, plan, number)
            more = checked(one, cubes)
            self._refuse_bad(one, cubes)
            if self.config.save_inputs and cubes:
                told["input"], arrays = _inputs(one, cubes)
            embedding = embedding_of(result, plan, number)
            if self.config.save_embeddings:
                key = f"embedding__{sanitised(one.name)}"
                arrays[key] = np.asarray(embedding.data, np.float32)
                told["embedding"] = array_entry(key, arrays[key])
                told["meta"] = json.loads(json.dumps(embedding.meta | more, default=str))
        except RsEmbedError as error:
            if not self.config.continue_on_error:
                raise
            told |= {"status": "failed", "error": f"{type(error).__name__}: {error}", "embedding": None, "meta": None}
            arrays = {name: array for name, array in arrays.items() if name.startswith("input")}
        return told, arrays

    def _refuse_bad(self, one: Asked, cubes: Mapping[str, Any]) -> None:
        for name, cube in cubes.items() if self.config.fail_on_bad_input else ():
            issues = report_of(pixels_of(cube), name)["issues"]
            if issues:
                fix = "leave fail_on_bad_input out, or use another place or span"
                raise ModelError(f"input of {one.name}", value=issues[0], reason="it failed the check", fix=fix)


def _inputs(one: Asked, cubes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a model's input as an array, or one for each modality under keys that name it."""
    first, *others = cubes
    keys = {first: f"input_chw__{sanitised(one.name)}"}
    keys |= {name: f"{keys[first]}__{sanitised(name)}" for name in others}
    arrays = {keys[name]: pixels_of(cube) for name, cube in cubes.items()}
    entry = array_entry(keys[first], arrays[keys[first]])
    entry["bands"], entry["modality"] = list(cubes[first].bands), first
    entry["inspection"] = report_of(arrays[keys[first]], first)
    entry |= {"others": [array_entry(keys[name], arrays[keys[name]]) for name in others]} if others else {}
    return json.loads(json.dumps(entry)), arrays


def _finished(file: Path, mark: str) -> dict[str, Any] | None:
    """Return the manifest of a file that the same request has written without a failure."""
    beside = file.with_suffix(".json")
    if not file.exists() or not beside.exists():
        return None
    try:
        manifest: dict[str, Any] = json.loads(beside.read_text("utf-8"))
    except ValueError:
        return None
    if manifest.get("request_fingerprint") != mark or manifest.get("status") != "ok":
        return None
    return manifest | {"resume_skipped": True, "resume_output_path": str(file)}


def _together(manifests: Sequence[Mapping[str, Any]], names: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Put items' files together: the models' part of the manifest, and the arrays."""
    entries: list[dict[str, Any]] = []
    arrays: dict[str, Any] = {}
    loaded = [dict(np.load(one["npz_path"], allow_pickle=False)) for one in manifests]
    for number, name in enumerate(names):
        parts = [one["models"][number] for one in manifests]
        failed = {str(row): part["error"] for row, part in enumerate(parts) if part["status"] == "failed"}
        entry = {"model": name, "sensor": parts[0]["sensor"], "status": state_of(parts)}
        entry["metas"] = [part["meta"] for part in parts]
        for word, single, several in (("embedding", "embedding", "embeddings"), ("input", "input_chw", "inputs_bchw")):
            entry[f"{word}s"], own = _stacked(
                {row: one.get(f"{single}__{sanitised(name)}") for row, one in enumerate(loaded)}, single, several, name
            )
            arrays |= own
        if failed:
            entry |= {"failed_indices": [int(row) for row in failed], "errors_by_index": failed}
        entries.append(entry)
    return {"status": state_of(entries), "models": entries, "summary": summary(entries)}, arrays


def _stacked(
    rows: Mapping[int, np.ndarray[Any, Any] | None], single: str, several: str, name: str
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Stack the items' arrays where all are there and alike, else keep one for each under its number."""
    there = {row: array for row, array in rows.items() if array is not None}
    if not there:
        return None, {}
    if len(there) == len(rows) and len({array.shape for array in there.values()}) == 1:
        key, stack = f"{several}__{sanitised(name)}", np.stack(list(there.values()))
        return {"npz_key": key, "shape": list(stack.shape), "dtype": str(stack.dtype)}, {key: stack}
    arrays = {f"{single}__{sanitised(name)}__{row:05d}": array for row, array in there.items()}
    return {"npz_keys": list(arrays), "indices": list(there)}, arrays
