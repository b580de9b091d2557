"""The service as a process of its own: started, told what goes wrong, asked what it saw, and ended with its parent."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.services.child import Child
from tests.services.faults import Disorder, FaultPlan, Happening
from tests.services.service import Service, client_environment


class ServiceProcess(Child):
    """Another process that serves a catalogue. A context manager."""

    def __init__(self, catalogue: Path, *, hrefs: str = "azure") -> None:
        super().__init__("tests.services.service_process", str(catalogue), "--hrefs", hrefs)
        self.port = self.greeting["port"]
        self.url = f"http://127.0.0.1:{self.port}/api/stac/v1"

    def environment(self) -> dict[str, str]:
        return client_environment(self.port)

    def faults(self, *happenings: dict[str, Any]) -> None:
        self.tell(faults=happenings)

    def counts(self) -> Counter[str]:
        return Counter(self.tell(ask="counts"))

    def calls(self) -> list[dict[str, Any]]:
        return self.tell(ask="calls")

    def forget(self) -> None:
        self.tell(ask="forget")


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
        case {"ask": "file bytes"}:
            return service.bytes_sent(lambda call: call.kind in {"range", "whole"})
        case {"ask": "calls"}:
            return [
                {"kind": c.kind, "method": c.method, "path": c.path, "byte_range": c.byte_range}
                for c in service.calls()
            ]
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


if __name__ == "__main__":
    main()
