"""Weights: where their files lie, under which terms, and whether they are the right ones."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rs_embed_dask.errors import LicenceError, SpecError, WeightsError

if TYPE_CHECKING:
    from rs_embed_dask.cards.card import Card, Variant
    from rs_embed_dask.weights import Weights

__all__ = ["WeightsInfo", "check_licence", "digest", "fetch", "locate", "verify"]

_log = logging.getLogger(__name__)
_BLOCK = 1 << 22


@dataclass(frozen=True)
class WeightsInfo:
    """Which weights a model runs with, for the receipt.

    `source` is the file's name, ``"random"``, ``"given"`` (tensors from the caller) or ``"none"`` (it needs none);
    `official` says that the digest is the card's; `random` that nothing was trained, so that vectors mean nothing.
    """

    source: str = "none"
    sha256: str = ""
    licence: str = ""
    official: bool = False
    random: bool = False


def fetch(card: Card, variant: Variant, *, folder: Path | None = None, accept_licence: bool = False) -> Path:
    """Bring a checkpoint onto this machine: what ``rs-embed-dask weights fetch ID`` runs.

    Parameters
    ----------
    card, variant : Card, Variant
        Whose weights.
    folder : Path, optional
        A folder to put the file in; by default the Hugging Face cache, where `load_model` looks.
    accept_licence : bool, default False
        Agree to restricted terms.

    Raises
    ------
    LicenceError, WeightsError
        The terms were not accepted; there is no download, it failed, or the file is not the one the card means.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    weights = _weights(card, variant)
    check_licence(card, weights, accept_licence=accept_licence)
    if not weights.repo:
        raise _missing(card, variant, weights)
    try:
        path = Path(hf_hub_download(weights.repo, weights.file, revision=weights.revision, local_dir=folder))
    except (HfHubHTTPError, OSError) as error:
        reason = f"the download failed ({type(error).__name__})"
        fix = "check the network, or get the file elsewhere and pass weights=PATH"
        where = f"{weights.repo}/{weights.file}"
        raise WeightsError(f"{card.id}: weights", value=where, reason=reason, fix=fix) from error
    verify(card, weights, path, strict=True)
    return path


def locate(card: Card, variant: Variant, *, download: bool) -> Path:
    """Find a checkpoint in the Hugging Face cache, or download it where that is allowed."""
    from huggingface_hub import try_to_load_from_cache

    weights = _weights(card, variant)
    if weights.repo:
        found = try_to_load_from_cache(weights.repo, weights.file, revision=weights.revision)
        if isinstance(found, str):
            return Path(found)
        if download:
            return fetch(card, variant, accept_licence=True)
    raise _missing(card, variant, weights)


def check_licence(card: Card, weights: Weights, *, accept_licence: bool) -> None:
    """Show the terms; refuse restricted ones that were not accepted. Raises LicenceError."""
    if not weights.restricted or accept_licence:
        _log.info("%s: weights under %s", card.id, weights.licence)
        return
    reason, fix = "it restricts what the vectors may be used for", "read it, then pass accept_licence=True"
    raise LicenceError(f"{card.id}: licence of the weights", value=weights.licence, reason=reason, fix=fix)


def verify(card: Card, weights: Weights, path: Path, *, strict: bool) -> str:
    """Return the file's sha256. Raises WeightsError where it is not the card's and `strict`, or there is no file."""
    if not path.is_file():
        fix = "give a file, or weights='auto'"
        raise WeightsError(f"{card.id}: weights", value=str(path), reason="there is no such file", fix=fix)
    found = digest(path)
    for name, is_, wanted in (("size", path.stat().st_size, weights.size), ("sha256", found, weights.sha256)):
        if strict and wanted and is_ != wanted:
            reason = f"its {name} is {is_!s:.12}, the card's is {wanted!s:.12}"
            fix = "fetch the file again, or pass its path as weights= to use it knowingly"
            raise WeightsError(f"{card.id}: weights", value=path.name, reason=reason, fix=fix)
    return found


def digest(path: Path) -> str:
    """Return a file's sha256, remembered beside it by size and time of change where its folder may be written to."""
    state = path.stat()
    note = path.with_name(f".{path.name}.sha256")
    key = {"size": state.st_size, "mtime_ns": state.st_mtime_ns}
    try:
        known = json.loads(note.read_text())
    except (OSError, ValueError):
        known = {}
    if isinstance(known, dict) and known.get("sha256") and {k: known.get(k) for k in key} == key:
        return str(known["sha256"])
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            total.update(block)
    # The mode, not os.access: root may write anywhere, and a folder marked read-only is left as it is all the same.
    if path.parent.stat().st_mode & stat.S_IWUSR:
        _note(note, {**key, "sha256": total.hexdigest()})
    return total.hexdigest()


def _note(note: Path, content: dict[str, object]) -> None:
    draft = note.with_name(f"{note.name}.{os.getpid()}")
    try:
        draft.write_text(json.dumps(content))
        draft.replace(note)
    except OSError:
        draft.unlink(missing_ok=True)


def _weights(card: Card, variant: Variant) -> Weights:
    if variant.weights is None:
        raise SpecError(f"{card.id}: weights", value=variant.name, reason="it needs none", fix="leave weights= out")
    return variant.weights


def _missing(card: Card, variant: Variant, weights: Weights) -> WeightsError:
    command = f"rs-embed-dask weights fetch {card.id} --variant {variant.name}"
    where = f"{weights.repo}/{weights.file}" if weights.repo else weights.file
    fix = f"run `{command}`" if weights.repo else f"get it from {weights.url}"
    reason = "the file is not on this machine"
    return WeightsError(f"{card.id}: weights", value=where, reason=reason, fix=f"{fix}, or pass weights=PATH")
