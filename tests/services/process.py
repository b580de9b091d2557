"""The service as a process of its own: started, told what goes wrong, asked what it saw, and ended with its parent.

Commands go in as JSON lines and answers come out as JSON lines; when the input ends, so does the process.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Self

from rs_embed_dask.demo.service import Service, client_environment
from tests.services.faults import Disorder, FaultPlan, Happening

ROOT = Path(__file__).resolve().parents[2]


class ServiceProcess:
    """Another process that serves a catalogue. A context manager."""

    def __init__(self, catalogue: Path, *, hrefs: str = "azure") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.services", str(catalogue), "--hrefs", hrefs],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = self._answer()["port"]
        self.url = f"http://127.0.0.1:{self.port}/api/stac/v1"

    def environment(self) -> dict[str, str]:
        return client_environment(self.port)

    def tell(self, **command: Any) -> Any:
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def faults(self, *happenings: dict[str, Any]) -> None:
        self.tell(faults=happenings)

    def counts(self) -> Counter[str]:
        return Counter(self.tell(ask="counts"))

    def calls(self) -> list[dict[str, Any]]:
        return self.tell(ask="calls")

    def forget(self) -> None:
        self.tell(ask="forget")

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the service ended with {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def obey(service: Service, command: dict[str, Any]) -> Any:
    """Carry out one command and return the answer."""
    match command:
        case {"faults": happenings}:
            service.rule = FaultPlan(Happening.from_dict(h) for h in happenings)
        case {"disorder": disorder}:
            service.api = dataclasses.replace(service.api, arrange=Disorder(**disorder) if disorder else None)
        case {"page_size": size}:
            service.api = dataclasses.replace(service.api, page_size=size)
        case {"token_ttl_s": seconds}:
            service.token_ttl_s = seconds
        case {"ask": "counts"}:
            return dict(service.counts())
        case {"ask": "bytes"}:
            return service.bytes_sent()
        case {"ask": "calls"}:
            return [{"kind": c.kind, "method": c.method, "path": c.path, "wanted": c.wanted} for c in service.calls()]
        case {"ask": "forget"}:
            service.forget_calls()
        case _:
            raise ValueError(f"unknown command {command}")
    return {}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--hrefs", default="azure")
    chosen = parser.parse_args()
    with Service(chosen.root, hrefs=chosen.hrefs) as service:
        print(json.dumps({"port": service.port}), flush=True)
        for line in sys.stdin:
            print(json.dumps(obey(service, json.loads(line))), flush=True)
