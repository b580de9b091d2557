"""Checkpoints: what a card says of one, where its file lies, and how it is read safely and strictly."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Weights"]


@dataclass(frozen=True)
class Weights:
    """A checkpoint: where it lies, under which terms, and how its names become the module's.

    Attributes
    ----------
    repo, file, revision : str
        The Hugging Face repository, the file in it, and the commit. Without `repo`, `url` says where a person gets it.
    sha256, size : str, int
        Digest and bytes, where known: checked.
    seen : str
        What was there when it was looked at, for people: the beginning of the commit, the size rounded. Not checked.
    licence, restricted : str, bool
        SPDX or short name of the terms, and whether the user must accept them by ``accept_licence=True``.
    keys : tuple of str
        Sub-dictionaries the tensors may lie under; the first that is there is taken.
    prefixes : tuple of str
        Prefixes to strip in turn; where any name has one, names without it are left out.
    rename : tuple of (str, str)
        Parts of names to replace.
    join : tuple of (str, tuple of str)
        Parts of names whose tensors the module has as one, under the first: in order, zeros for a vector that is not
        there.
    ignore, drop : tuple of str
        Beginnings, and parts, of names that the encoder does not use.
    optional : tuple of str
        Parts of names that a file may lack: the module's own value stays.
    spare : tuple of str
        Beginnings of names of parts that the encoder may be built without; such a part's tensors are left out then.
    safe_classes : tuple of str
        Harmless classes that the pickle may hold, for example ``"argparse.Namespace"``.
    """

    repo: str = ""
    file: str = ""
    revision: str = "main"
    url: str = ""
    sha256: str = ""
    size: int = 0
    seen: str = ""
    licence: str = "unknown"
    restricted: bool = False
    keys: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    rename: tuple[tuple[str, str], ...] = ()
    join: tuple[tuple[str, tuple[str, ...]], ...] = ()
    ignore: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()
    safe_classes: tuple[str, ...] = ()
