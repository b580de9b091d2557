"""Where attacked runs store: in a folder, or at an S3 service in a thread of the harness, with faults of its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Self

from rs_embed_dask.store import Location
from rs_embed_dask.store.target import located
from tests.services.object_store import ObjectService

FAULTS = {"busy": 0.003, "slow": 0.003, "lost": 0.003, "dropped": 0.003}
"""Shares of requests; each costs half a second, by the policy of retries."""


class Folder:
    """Stores lie where the harness puts them."""

    def place(self, path: Path) -> Path:
        return path

    def remove(self, place: Path) -> None:
        shutil.rmtree(place)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __str__(self) -> str:
        return "stored in folders"


class Bucket:
    """Stores lie at the service; workers and drivers find it by options that travel with the place."""

    def __init__(self, rates: dict[str, float] = FAULTS) -> None:
        self.service = ObjectService(dict(rates))

    def place(self, path: Path) -> Any:
        return located(f"s3://{self.service.bucket}/{path.parent.name}/{path.name}", self.service.options())

    def remove(self, place: Location) -> None:
        place.remove("")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.service.close()

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {name}" for name, count in sorted(self.service.counts.items()))
        return f"stored at a service, whose requests were: {counts}"


DEPOTS = {"folder": Folder, "s3": Bucket}
