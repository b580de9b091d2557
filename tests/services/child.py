"""Another process of our own, told commands and asked for answers as JSON lines; it ends when its input does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
ENDS_WITHIN_S = 90
"""Long, for a machine with more processes than cores."""


class Child:
    """Runs a module; `greeting` is what it said first. A context manager."""

    def __init__(self, *module: str) -> None:
        command, pipe = [sys.executable, "-m", *module], subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        self.greeting = self._answer()

    def tell(self, **command: Any) -> Any:
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args[2]} ended with {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=ENDS_WITHIN_S)
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
