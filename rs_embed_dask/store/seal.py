"""Knowing one's own stores: a seal over the request, made with a key that only this user on this machine has.

A store's id alone would prove nothing, for whoever copies a store copies its id and may change the rest.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.store.receipt import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["is_own", "seal_of"]

_PART: Final = "seal"
_KEY_BYTES: Final = 32


def state_folder() -> Path:
    """Return the folder of what this user's machine remembers between runs."""
    parts = ("Library", "Application Support") if sys.platform == "darwin" else (".local", "state")
    return Path.home().joinpath(*parts, "rs-embed-dask")


def seal_of(request: Mapping[str, Any]) -> dict[str, str]:
    """Return the part of a receipt that seals a request; nothing where this user's key cannot be made or read."""
    key = _key(make=True)
    return {} if key is None else {_PART: _sealed(request, key)}


def is_own(request: Mapping[str, Any], receipt: Mapping[str, Any]) -> bool:
    """Tell whether this user on this machine sealed the request as it stands in the store now."""
    seal, key = str(receipt.get(_PART)), _key(make=False)
    return key is not None and hmac.compare_digest(seal.encode(), _sealed(request, key).encode())


def _sealed(request: Mapping[str, Any], key: bytes) -> str:
    text = json.dumps(plain(dict(request)), sort_keys=True, separators=(",", ":"))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _key(*, make: bool) -> bytes | None:
    """Return the key; None where there is none, or where others could have read or written it."""
    try:
        path = state_folder() / "key"
        if make:
            _make(path)
        state = path.lstat()
        private = stat.S_ISREG(state.st_mode) and not state.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        content = path.read_bytes() if private and state.st_uid == os.getuid() else b""
    except (OSError, RuntimeError):  # RuntimeError: this user has no home
        return None
    return content if len(content) == _KEY_BYTES else None


def _make(path: Path) -> None:
    """Write a new key unless there is one; whole, because another process may read it at once."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".key.{os.getpid()}.{secrets.token_hex(4)}")
    draft.touch(mode=0o600, exist_ok=False)
    try:
        draft.write_bytes(secrets.token_bytes(_KEY_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
