"""The emulator as a process of its own: told its world and what goes wrong, asked what it saw."""

from __future__ import annotations

import json
import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any

from rs_embed_dask.providers.earth_engine.provider import EarthEngine
from rs_embed_dask.providers.retry import RetryPolicy
from tests.services.child import Child
from tests.services.earth.mishaps import Fault, Settings
from tests.services.earth.server import Earth

ANONYMOUS = "google.auth.credentials:AnonymousCredentials"
QUICK = RetryPolicy(4, 0.01, 0.05, 30.0, 900.0)


class EarthProcess(Child):
    """Another process that answers as Earth Engine does. A context manager."""

    def __init__(self) -> None:
        super().__init__("tests.services.earth.process")
        self.url = self.greeting["url"]

    def provider(self, **options: Any) -> EarthEngine:
        """Return the provider that reads here."""
        plain = {"project": "made-up", "endpoint": self.url, "credentials": ANONYMOUS, "retry": QUICK}
        plain["catalogue"] = f"{self.url}/catalog"
        return EarthEngine(**plain | options)

    def serve(self, *scenes: Any) -> None:
        """Serve these scenes and nothing else, without limits or faults, all counters at zero."""
        with tempfile.NamedTemporaryFile(suffix=".pkl") as held:
            pickle.dump([scene for each in scenes for scene in (each if isinstance(each, list) else [each])], held)
            held.flush()
            self.tell(serve=held.name)

    def publish(self, documents: dict[str, dict[str, Any]]) -> None:
        """Serve these documents, by their paths, as the public data catalogue, until scenes are served anew."""
        self.tell(catalogue=documents)

    def set(self, **settings: Any) -> None:
        """Change settings; the others stay."""
        self.tell(set=settings)

    def faults(self, *faults: dict[str, Any]) -> None:
        self.tell(faults=list(faults))

    def report(self) -> dict[str, Any]:
        return self.tell(ask="report")

    def counts(self, kind: str) -> int:
        return self.report()["counts"].get(kind, 0)

    def bodies(self) -> list[dict[str, Any]]:
        return self.tell(ask="bodies")

    def forget(self) -> None:
        self.tell(ask="forget")


def obey(earth: Earth, command: dict[str, Any]) -> Any:
    """Carry out one command and return the answer."""
    match command:
        case {"serve": path}:
            earth.settings = Settings()
            earth.serve(pickle.loads(Path(path).read_bytes()))
            earth.forget()
        case {"catalogue": documents}:
            earth.catalogue = documents
        case {"set": settings}:
            for name, value in settings.items():
                setattr(earth.settings, name, value)
        case {"faults": faults}:
            earth.settings.faults = [Fault(**fault) for fault in faults]
        case {"ask": "report"}:
            return earth.report()
        case {"ask": "bodies"}:
            return earth.bodies
        case {"ask": "forget"}:
            earth.forget()
        case _:
            raise ValueError(f"unknown command {command}")
    return {}


def main() -> None:
    earth = Earth()
    print(json.dumps({"url": earth.url}), flush=True)
    for line in sys.stdin:
        print(json.dumps(obey(earth, json.loads(line))), flush=True)
    earth.close()


if __name__ == "__main__":
    main()
