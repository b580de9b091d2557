"""Weights: locating, verifying and loading checkpoints, and accepting their licences."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import stat
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rs_embed_dask.errors import SpecError, WeightsError
from rs_embed_dask.models.terms import check_licence, check_weights, missing_file, no_such_file

if TYPE_CHECKING:
    from torch import nn

    from rs_embed_dask.cards.card import Card, Variant, Weights
    from rs_embed_dask.specs import ModelSpec

__all__ = ["WeightsInfo", "at_hand", "check_licence", "digest", "fetch", "load_into", "locate", "read", "verify"]

_LISTED = 5
# The first bytes of a `torch.save` file that is not a zip: a pickle of the number 0x1950a86a20f9469cfc6c.
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_ZIP = b"PK\x03\x04"
# A state dict's pickle holds names, not numbers: a few megabytes for the largest models.
_LARGEST_PICKLE = 1 << 26
# What PyTorch's readers raise on a truncated file.
_DAMAGE = (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError, struct.error)


def read(path: Path, safe_classes: tuple[str, ...] = ()) -> Mapping[str, Any]:
    """Read ``.safetensors``, or a file from ``torch.save``, without executing anything in it."""
    # `safe_classes` are full names of harmless classes that the pickle may hold. Raises WeightsError where the
    # file is truncated, not a checkpoint, or holds anything that would have to be executed.
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    damaged = WeightsError("weights", value=path.name, reason="truncated, or not a checkpoint", fix="fetch it again")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with path.open("rb") as file:
            head = file.read(len(_LEGACY))
        zipped = head.startswith(_ZIP)  # as PyTorch decides, for a file may be a zip to one reader and not to another
        if not zipped and head != _LEGACY:
            raise damaged
        if zipped:
            _check_archive(path)
        with torch.serialization.safe_globals([_class(name) for name in safe_classes]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        fix = "get the authors' file, or convert it to safetensors; if you trust it, pass its tensors as weights="
        reason = "it holds objects that would have to be executed, or it is damaged"
        raise WeightsError("weights", value=path.name, reason=reason, fix=fix) from error
    except (SafetensorError, zipfile.BadZipFile, *_DAMAGE) as error:
        raise damaged from error
    if isinstance(content, Mapping):
        return content
    raise WeightsError("weights", value=path.name, reason="it is not a state dict", fix="give tensors by name")


def _check_archive(path: Path) -> None:
    """Refuse an archive that would grow, because PyTorch unpacks its pickle at once. Raises WeightsError."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    pickles = [entry for entry in entries if entry.filename.endswith(".pkl")]
    squeezed = [each for each in entries if each.compress_type != zipfile.ZIP_STORED]
    unpacked = sum(entry.file_size for entry in entries if entry not in squeezed)
    reason = ""
    if any(entry in pickles or "/data/" in entry.filename for entry in squeezed):
        reason = f"its entry {squeezed[0].filename} is compressed, which torch.save never does"
    elif any(entry.file_size > _LARGEST_PICKLE for entry in pickles):
        largest = max(entry.file_size for entry in pickles)
        reason = f"its pickle has {largest} bytes, and the limit is {_LARGEST_PICKLE}"
    elif unpacked > path.stat().st_size:
        reason = f"its entries take {unpacked} bytes, more than the file"
    if reason:
        fix = "get the authors' file, or convert it to safetensors"
        raise WeightsError("weights", value=path.name, reason=reason, fix=fix)


def _class(name: str) -> type:
    module, _, leaf = name.rpartition(".")
    resolved: type = getattr(import_module(module), leaf)
    return resolved


def load_into(
    module: nn.Module, content: Mapping[str, Any], weights: Weights, *, what: str, copy: bool = False
) -> None:
    """Load a checkpoint's tensors into a module; every name must be accounted for."""
    # With `copy`, the tensors that are used are copied, so that the file may change afterwards; else they are shared.
    # Raises WeightsError with the first five names that are missing, unexpected or misshapen.
    expected = module.state_dict()
    tensors = _without_spare(_renamed(_selected(content, weights.keys), weights), expected, weights.spare)
    tensors = {
        name: value.to(torch.float32, copy=copy) if value.is_floating_point() else value
        for name, value in tensors.items()
    }
    missing = [n for n in expected if n not in tensors and not any(part in n for part in _optional(weights))]
    surplus = [name for name in tensors if name not in expected]
    shapes = [
        f"{name} {tuple(tensors[name].shape)} for {tuple(expected[name].shape)}"
        for name in expected
        if name in tensors and tensors[name].shape != expected[name].shape
    ]
    faults = {"missing": missing, "unexpected": surplus, "misshapen": shapes}
    if any(faults.values()):
        listed = "; ".join(f"{len(names)} {kind}: {_first(names)}" for kind, names in faults.items() if names)
        fix = "give the checkpoint of this model and variant"
        raise WeightsError(f"{what}: names in the weights", reason=listed, fix=fix)
    module.load_state_dict(tensors, strict=False, assign=True)
    _zero_counters(module)
    left = [name for name, value in module.state_dict().items() if value.is_meta]
    if left:
        raise WeightsError(f"{what}: tensors without a value", reason=_first(left), fix="they are not optional")


def _without_spare(tensors: dict[str, Tensor], state: Mapping[str, Any], spare: tuple[str, ...]) -> dict[str, Tensor]:
    """Drop parts that the module was built without; a part is a `spare` prefix and one more word."""
    for beginning in spare:
        parts = {name[len(beginning) :].partition(".")[0] for name in state if name.startswith(beginning)}
        tensors = {
            name: tensor
            for name, tensor in tensors.items()
            if not name.startswith(beginning) or name[len(beginning) :].partition(".")[0] in parts
        }
    return tensors


def _zero_counters(module: nn.Module) -> None:
    """Set the batch counter of batch norms that lack one; inference does not read it."""
    for part in module.modules():
        counter = getattr(part, "num_batches_tracked", None)
        if isinstance(counter, Tensor) and counter.is_meta:
            part.num_batches_tracked = torch.zeros((), dtype=torch.long)


def _optional(weights: Weights) -> tuple[str, ...]:
    return (*weights.optional, "num_batches_tracked")


def _first(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")


def _selected(content: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Tensor]:
    """Select the first sub-dictionary present, and join nested names by dots."""
    selected: Mapping[str, Any] = next((content[key] for key in keys if isinstance(content.get(key), Mapping)), content)
    flat: dict[str, Tensor] = {}
    for name, value in selected.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{inner}": tensor for inner, tensor in _selected(value, ()).items()})
        elif isinstance(value, Tensor):
            flat[name] = value
        elif hasattr(value, "__array__"):
            flat[name] = torch.from_numpy(value.copy() if not value.flags.writeable else value)
    return flat


def _joined(tensors: dict[str, Tensor], whole: str, parts: tuple[str, ...]) -> dict[str, Tensor]:
    """Concatenate tensors whose names differ in one part; those whose shapes do not match stay as they are."""
    joined = dict(tensors)
    for name, first in tensors.items():
        if parts[0] not in name:
            continue
        names = [name.replace(parts[0], part) for part in parts]
        candidates = [tensors.get(n, torch.zeros_like(first) if first.dim() == 1 else None) for n in names]
        pieces = [tensor for tensor in candidates if tensor is not None and tensor.shape == first.shape]
        if len(pieces) == len(parts):
            joined = {n: tensor for n, tensor in joined.items() if n not in names}
            joined[name.replace(parts[0], whole)] = torch.cat(pieces)
    return joined


def _renamed(tensors: dict[str, Tensor], weights: Weights) -> dict[str, Tensor]:
    for prefix in weights.prefixes:
        inside = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
        tensors = inside or tensors
    for old, new in weights.rename:
        tensors = {name.replace(old, new): tensor for name, tensor in tensors.items()}
    for whole, parts in weights.join:
        tensors = _joined(tensors, whole, parts)
    return {
        name: tensor
        for name, tensor in tensors.items()
        if not name.startswith(weights.ignore) and not any(part in name for part in weights.drop)
    }


_BLOCK = 1 << 22


@dataclass(frozen=True)
class WeightsInfo:
    """The weights that a model runs with, for the receipt."""

    # `source` is the file's name, ``"random"``, ``"given"`` (tensors from the caller) or ``"none"`` (it needs none);
    # `official`: the digest is the card's; `random`: nothing was trained, so the vectors are meaningless.

    source: str = "none"
    sha256: str = ""
    licence: str = ""
    official: bool = False
    random: bool = False


def fetch(card: Card, variant: Variant, *, folder: Path | None = None, accept_licence: bool = False) -> Path:
    """Download a checkpoint to this machine; ``rs-embed-dask weights fetch ID`` calls this."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    weights = _weights(card, variant)
    check_licence(card, weights, accept_licence=accept_licence)
    if not weights.repo:
        raise missing_file(card, variant, weights)
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
    """Return a checkpoint from the Hugging Face cache, or download it where that is allowed."""
    from huggingface_hub import try_to_load_from_cache

    weights = _weights(card, variant)
    if weights.repo:
        cached = try_to_load_from_cache(weights.repo, weights.file, revision=weights.revision)
        if isinstance(cached, str):
            return Path(cached)
        if download:
            return fetch(card, variant, accept_licence=True)
    raise missing_file(card, variant, weights)


def at_hand(card: Card, spec: ModelSpec) -> str:
    """Say which verified file a model would load without a network. Raises LicenceError or WeightsError."""
    variant = card.variant_for(spec)
    check_weights(card, spec, is_here=True)
    if variant.weights is None or spec.weights == "random":
        return "none needed" if variant.weights is None else "random"
    is_auto = spec.weights == "auto"
    path = locate(card, variant, download=False) if is_auto else Path(spec.weights)
    return f"{path}, sha256 {verify(card, variant.weights, path, strict=is_auto):.12}"


def verify(card: Card, weights: Weights, path: Path, *, strict: bool) -> str:
    """Return the file's sha256. Raises WeightsError if the file is missing or, with `strict`, is not the card's."""
    if not path.is_file():
        raise no_such_file(card, path)
    sha256 = digest(path)
    for name, actual, expected in (("size", path.stat().st_size, weights.size), ("sha256", sha256, weights.sha256)):
        if strict and expected and actual != expected:
            reason = f"its {name} is {actual!s:.12}, the card's is {expected!s:.12}"
            fix = "fetch the file again, or pass its path as weights= to use it knowingly"
            raise WeightsError(f"{card.id}: weights", value=path.name, reason=reason, fix=fix)
    return sha256


def digest(path: Path) -> str:
    """Return a file's sha256, noted beside it by size, time of change and inode where only this user can write."""
    state, note = path.stat(), path.with_name(f".{path.name}.sha256")
    key = {"size": state.st_size, "mtime_ns": state.st_mtime_ns, "inode": state.st_ino}
    is_private = all(_is_private(each) for each in (path.parent, path.resolve().parent))
    cached = _noted(note) if is_private else {}
    if cached.get("sha256") and {k: cached.get(k) for k in key} == key:
        return str(cached["sha256"])
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            total.update(block)
    if is_private:
        _note(note, {**key, "sha256": total.hexdigest()})
    return total.hexdigest()


def _is_private(folder: Path) -> bool:
    """Tell whether a folder is this user's, and writable for this user alone."""
    # The mode, not os.access: root may write anywhere, and a folder marked read-only is left as it is all the same.
    state = folder.stat()
    writers = state.st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    return state.st_uid == os.getuid() and writers == stat.S_IWUSR


def _noted(note: Path) -> dict[str, object]:
    try:
        content = json.loads(note.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


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
