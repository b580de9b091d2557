"""The vectors of the places: computed by every model that can run, or taken from an export of rs-embed."""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

import rs_embed_dask as rs
from examples.maize import spam
from rs_embed_dask.analysis.vectors import is_embedded
from rs_embed_dask.errors import RsEmbedError, SpecError, WeightsError
from rs_embed_dask.models import card
from rs_embed_dask.models.weights import at_hand
from rs_embed_dask.store.tables import model_labels, unfolded

SPAN = rs.TemporalSpec.range("2019-06-01", "2019-08-01")
BUFFER_M = 2000.0
FEWEST = 10  # places with a vector, for `rs.benchmark` to learn from
LOCATION = "location"  # a baseline of every benchmark, which makes it itself


def places(table, buffer_m=BUFFER_M):
    """A square around the middle of each cell; SPAM's grid codes are the ids."""
    return [rs.PointBuffer(lon, lat, buffer_m=buffer_m) for lon, lat in zip(table["lon"], table["lat"], strict=True)]


def judged(table, provider, models=None, *, accept_licence=False):
    """Say which models can run, as specs, and for each of the others the reason and the fix.

    A model needs imagery of one of its modalities, and weights on this machine whose licence was accepted. Default: all
    models, except that of the place alone, which is a baseline of every benchmark.
    """
    names = None if models is None else [rs.ModelSpec.of(model).id for model in models]
    told = rs.can_run(places(table)[:1], SPAN, models=names, provider=provider)
    if models is None:
        models = dict.fromkeys(verdict.model for verdict in told.verdicts if verdict.model != LOCATION)
    able, reasons = [], {}
    for model in map(rs.ModelSpec.of, models):
        spec = replace(model, accept_licence=accept_licence or model.accept_licence)
        reason = _hindrance(spec, told)
        if reason:
            reasons[spec.label] = reason
        else:
            able.append(spec)
    return able, reasons


def _hindrance(spec, told):
    of = card(spec.id)
    if of.id not in told.models:
        verdict = next(one for one in told.verdicts if one.model == of.id)
        return f"{verdict.reason}. Fix: {verdict.fix}"
    try:
        at_hand(of, spec)
    except WeightsError as error:
        return str(error)
    return ""


def computed(table, models, *, out, provider, buffer_m=BUFFER_M, **options):
    """Pooled vectors of all places over June and July 2019; what the store `out` has already is not computed again."""
    ids = [str(code) for code in table.index]
    asked = {"ids": ids, "provider": provider, "progress": False, **options}
    return rs.compute_embeddings(places(table, buffer_m), models, SPAN, out=out, **asked)


def imported(export):
    """The vectors of an export of rs-embed (`.npz`, `.nc` or a folder of items with their manifests)."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "models without a vector were left out")  # `able` names them
        try:
            return rs.import_export(export, Path(folder) / "imported.zarr", temporal=SPAN).load()
        except RsEmbedError:
            raise
        except (OSError, ValueError) as error:  # as of rs-embed's own load_export
            fix = "give the .npz or .nc that rs-embed wrote, with its .json beside it, or a folder of items"
            raise SpecError("export", value=str(export), reason=str(error), fix=fix) from error


def codes(run):
    """The grid code of the cell that each item lies in, by the item's id: coordinates in exports are rounded."""
    items = run["items"]
    found = spam.grid_code(items["lon"].to_numpy(), items["lat"].to_numpy())
    return pd.Series(found, index=items["id"].to_numpy().astype(str), name="grid_code")


def labels(run, table):
    """The yield (t/ha) of each item's cell, by the item's id; missing where the cell is none of the places."""
    cell = codes(run)
    found = pd.Series(table["t_ha"].reindex(cell).to_numpy(), index=cell.index, name="yield")
    known = cell[found.notna()]
    if not known.is_unique:
        value = f"grid code {known[known.duplicated()].iloc[0]}"
        reason = "two items lie in this cell, so the same label would be learnt from and tested"
        raise SpecError("items", value=value, reason=reason, fix="keep one item of a cell")
    return found


def able(run, table):
    """The run with those models whose vectors can be learnt from, and for each of the others the reason."""
    reasons = dict(unfolded(run.attrs["request"]).get("imported", {}).get("left_out", {}))
    known = np.isfinite(labels(run, table).to_numpy())
    found = {label: _lack(run, label, known) for label in model_labels(run)}
    reasons |= {label: reason for label, reason in found.items() if reason}
    if all(found.values()):
        told = "; ".join(f"{label}: {reason}" for label, reason in reasons.items())
        raise SpecError("models", value=[*reasons], reason=told, fix="give vectors of more of the places")
    return run.drop_nodes([label for label, reason in found.items() if reason]), reasons


def _lack(run, label, known):
    """Why a model's vectors of the places with a label cannot be learnt from; empty where they can."""
    if "y" in run[label]["embedding"].dims:
        return "it holds a grid per item, and what is learnt from is one vector"
    has = is_embedded(run, label)
    count = int((has & known).sum())
    if count >= FEWEST:
        return ""
    why = Counter(str(one) for one in run[label]["reason"].to_numpy()[known & ~has] if one).most_common(1)
    return f"{count} places have a vector of it, fewer than {FEWEST}" + "".join(f" ({one})" for one, _ in why)


def joined(run, table):
    """Say how many places have an item in the run."""
    known = int(np.isfinite(labels(run, table)).sum())
    return f"{known:,} of {len(table):,} places have an item, of {run['items'].sizes['item']:,} items"
