"""Blocks written to a folder, one file each."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class FolderWriter:
    folder: str

    def write(self, label, block, finished):
        """Write a block, and count the writing."""
        target = Path(self.folder) / f"{label}_{block.row}_{block.col}.npz"
        with (Path(self.folder) / f"{target.stem}.log").open("a") as log:
            log.write(f"{os.getpid()}\n")
        vectors = np.empty(0) if finished.vectors is None else finished.vectors
        part = target.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as file:
            np.savez(file, vectors=vectors, status=int(finished.status), reason=finished.reason)
        part.replace(target)

    def read(self, label, block):
        """Return what was written."""
        with np.load(Path(self.folder) / f"{label}_{block[0]}_{block[1]}.npz") as file:
            return {name: file[name] for name in file.files}
