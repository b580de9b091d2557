"""A case of ``parity.json``: its weights, inputs and expected outputs, read as generally as the fields allow."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity import recipe
from tests.parity.fields import Fields

REPOSITORY = Path(__file__).parents[2]
NUMBERS = Path(__file__).parent / "numbers"
SHARED = REPOSITORY.parent / "shared"
_DRAWS = dict(recipe.functions())
_RAW = {"reflectance", "backscatter_db"}


class NotUnderstoodError(Exception):
    """Something in a case that nobody reads, or that cannot be read; the case has not passed, nor the model failed."""


class Input:
    """An array that goes in, with what the case says of it; remembers whether anyone took it."""

    def __init__(self, role: str, values: np.ndarray, facts: Mapping[str, Any]) -> None:
        self.role, self._values, self.facts = role, values, facts
        self.taken = False

    @property
    def values(self) -> np.ndarray:
        self.taken = True
        return self._values


@dataclass
class Folder:
    """The folder given to the harness, and where else its files may lie."""

    path: Path
    _drawn: tuple[object, recipe.Weights] | None = field(default=None, repr=False)

    def find(self, file: str) -> Path:
        """Find a file that a case names."""
        inside = file.removeprefix("shared/")
        tries = [self.path.parent / inside, SHARED / inside, self.path.parent / file]
        for place in tries if file.startswith("shared/") else [self.path.parent / file, self.path / file]:
            if place.exists():
                return place
        raise NotUnderstoodError(f"no file {file} beside {self.path}")

    def shapes(self, model: str, reference: object) -> dict[str, list[int]]:
        """Resolve ``"keys.json.gz:VARIANT"`` or shapes written out."""
        if isinstance(reference, dict):
            return reference
        name, _, variant = str(reference).partition(":")
        for base in (self.path, SHARED / "models", NUMBERS):
            file = base / model / name
            if file.exists():
                known = json.loads(gzip.decompress(file.read_bytes()))
                if variant in known:
                    return known[variant]
        raise NotUnderstoodError(f"no shapes {reference!r} of {model}")

    def weights(self, model: str, spec: Mapping[str, Any]) -> recipe.Weights | Path:
        """Draw a case's weights, or find their file; the last draw is kept, for the next case often wants it too."""
        if "file" in spec:
            return self.find(spec["file"])
        shapes, seed = spec["shapes"], int(spec.get("seed", 0))
        key = (model, json.dumps(shapes, sort_keys=True), seed)
        if self._drawn is None or self._drawn[0] != key:
            self._drawn = None  # so that two are never held at once
            self._drawn = (key, recipe.Weights.draw(self.shapes(model, shapes), seed))
        return self._drawn[1]


@dataclass
class Case:
    """One case."""

    model: str
    facts: Mapping[str, Any]
    folder: Folder
    arrays: Any

    def __post_init__(self) -> None:
        self.facts = Fields(self.facts)

    def check_read(self) -> None:
        """Refuse a case that has something which nobody has looked up."""
        if self.unread:
            raise NotUnderstoodError(f"nothing reads {', '.join(self.unread)}")

    @property
    def unread(self) -> list[str]:
        """What says how to run the case and that nobody has looked up so far: fields, and inputs as a whole."""
        inputs = self.__dict__.get("inputs", ())  # drawn by now, or of no interest
        left = [f"inputs[{number}] {one.role}".rstrip() for number, one in enumerate(inputs) if not one.taken]
        return [*self.facts.unread(), *left]

    @property
    def name(self) -> str:
        return str(self.facts["name"])

    @property
    def side(self) -> Mapping[str, Any]:
        return self.facts.get("side") or {}

    @property
    def raw(self) -> bool:
        """Whether the inputs go through the model's own preparation."""
        return bool(self.recipe_text) or any(one.facts.get("fn") in _RAW or "file" in one.facts for one in self.inputs)

    @property
    def recipe_text(self) -> str:
        """What the case says of its preparation, in one line."""
        told = self.facts.get("preprocess") or self.facts.get("preprocessing") or ""
        return "; ".join(told) if isinstance(told, list) else str(told)

    @property
    def weights(self) -> recipe.Weights | Path:
        return self.folder.weights(self.model, self.facts["weights"])

    @cached_property
    def inputs(self) -> list[Input]:
        return [
            Input(_role(facts), _then(_array(facts, self.folder), facts.get("then"), facts), facts)
            for facts in self.facts["inputs"]
        ]

    def allowed(self, facts: Mapping[str, Any]) -> float:
        """Ten times the stated rounding, never under 2e-6; 1e-5 where none is stated."""
        stated = facts.get("rounding")
        for name in ("float64_relative_error", "rounding"):
            table = self.facts.get(name)
            if stated is None and isinstance(table, dict):
                stated = table.get(facts["output"])
            elif stated is None and isinstance(table, int | float):
                stated = table
        return 1e-5 if stated is None else max(2e-6, 10 * float(stated))


def _role(facts: Mapping[str, Any]) -> str:
    role = facts.get("input") or facts.get("modality") or facts.get("is") or ""
    return role if isinstance(role, str) else "+".join(role)


def _array(facts: Mapping[str, Any], folder: Folder) -> np.ndarray:
    if "file" in facts:
        return _from_file(facts, folder)
    draw = _DRAWS.get(facts["fn"])
    if draw is None:
        raise NotUnderstoodError(f"input function {facts['fn']!r}")
    return draw(facts["name"], tuple(facts["shape"]), int(facts.get("seed", 0)))


def _from_file(facts: Mapping[str, Any], folder: Folder) -> np.ndarray:
    file, _, member = str(facts["file"]).partition(":")
    path = folder.find(file)
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return arrays[member] if member else {name: arrays[name] for name in arrays.files}
    if path.suffix not in {".tif", ".tiff"}:
        raise NotUnderstoodError(f"input file {path.name}")
    import rasterio

    with rasterio.open(path) as source:
        values = source.read()
    window = facts.get("window")
    if window is None:
        return values.astype(np.float32)
    found = re.fullmatch(r"rows (\d+):(\d+), columns (\d+):(\d+)", window)
    if found is None:
        raise NotUnderstoodError(f"window {window!r}")
    top, bottom, left, right = map(int, found.groups())
    return values[:, top:bottom, left:right].astype(np.float32)


def _then(values: np.ndarray, what: str | None, facts: Mapping[str, Any] | None = None) -> np.ndarray:
    """Do what is done with a draw before it goes in."""
    if what is None:
        return values
    numbers = r"\[?([-\d., e]+)\]?"
    for pattern, act in (
        (rf"(?:times|multiplied by) {numbers}", np.multiply),
        (rf"(?:divided by|over) {numbers}", np.divide),
        (rf"plus {numbers}", np.add),
        (rf"minus {numbers}", np.subtract),
    ):
        found = re.fullmatch(pattern, what.strip())
        if found:
            factor = [float(word) for word in found.group(1).split(",")]
            return act(values, np.float32(factor if len(factor) > 1 else factor[0]))
    found = re.match(r"clip\(floor\(draw/(\d+)\), 0, 255\) as uint8", what)
    if found:
        return np.clip(np.floor(values / int(found.group(1))), 0, 255).astype(np.uint8)
    if "low + (high-low)*(n/5000) (kelvin)" in what and facts is not None:
        return _percent_or_kelvin(values, what, facts)
    raise NotUnderstoodError(f"then: {what!r}")


def _percent_or_kelvin(values: np.ndarray, what: str, facts: Mapping[str, Any]) -> np.ndarray:
    """Make a draw (..., C, H, W) percent in some bands and kelvin, between two numbers a band, in the others."""
    percent, kelvin = (
        [int(word) for word in found.split(",")]
        for found in re.findall(r"\((?:percent|kelvin)\) for channels \[([\d, ]+)\]", what)
    )
    low, high = (np.asarray(facts[name], np.float32)[:, None, None] for name in ("low", "high"))
    made = np.array(values, np.float32)
    made[..., percent, :, :] = values[..., percent, :, :] / 100
    made[..., kelvin, :, :] = low + (high - low) * (values[..., kelvin, :, :] / 5000)
    return made


def read_cases(folder: Path, models: list[str] | None = None, names: list[str] | None = None) -> list[Case]:
    """Read the cases of a folder, by model id and by part of their names."""
    place = Folder(folder.resolve())
    cases = []
    for file in sorted(place.path.glob("*/parity.json")):
        model = file.parent.name
        if models is not None and model not in models:
            continue
        content = json.loads(file.read_text())
        version = content.get("recipe_version", recipe.VERSION)
        if version != recipe.VERSION:
            raise NotUnderstoodError(f"recipe version {version} of {model}")
        arrays = np.load(file.with_suffix(".npz"))
        cases += [Case(model, facts, place, arrays) for facts in content["cases"]]
    return [case for case in cases if names is None or any(name in case.name for name in names)]
