"""What this machine has measured: how long reads and inference take here, kept for the estimates of later runs."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from rs_embed_dask.errors import ProviderError
from rs_embed_dask.products.mirror import Cache
from rs_embed_dask.store.receipt import strict_json

if TYPE_CHECKING:
    from rs_embed_dask.engine.recipe import Chosen, Recipe

__all__ = ["Crew", "Spent", "Timed", "Times", "Work", "keep", "model_key", "rates", "source_key"]

_FILE: Final = "receipts.json"
_PACE: Final = ("threads", "latency_s")
"""Options that say how quickly a provider answers."""

_MOST_RATES: Final = 5_000
"""Rates that are kept: those of the newest runs."""

_MOST_BYTES: Final = 2**26
"""A file that is longer is not one of ours."""

_LONGEST_S: Final = 1e9
"""No run takes so long for anything."""

_RECENT: Final = 0.5
"""Share of the newest run in an average: what changed lasts, and one odd run is soon outweighed."""


@dataclass(frozen=True)
class Crew:
    """The workers of a run: reads at once, processes that embed, their device, and models that are loaded there."""

    fetch_slots: int
    embedders: int
    device: str = "cpu"
    loaded: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Work:
    """What a run is to do, in the units that rates are kept for.

    Attributes
    ----------
    source : str
        The key of what is read.
    reads : float
        Number of reads.
    layers : float
        Size of one read, in layers of a scene and a band; a layer counts more the more pixels it has.
    scenes : float
        Scenes of one read.
    items : dict of str to float
        Items, or windows of a map, by model.
    tokens : dict of str to float
        Tokens of one item, over all frames, by model.
    models : dict of str to str
        Their keys.
    is_counted : bool
        Whether the scenes were counted in the catalogue.
    """

    source: str = ""
    reads: float = 0.0
    layers: float = 0.0
    scenes: float = 0.0
    items: Mapping[str, float] = field(default_factory=dict)
    tokens: Mapping[str, float] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    is_counted: bool = False

    def part(self, shares: Mapping[str, float]) -> Self:
        """Return the part of the work that is a share of each model's items, and the reads that they need."""
        items = {label: count * shares.get(label, 0.0) for label, count in self.items.items()}
        return replace(self, items=items, reads=self.reads * max(shares.values(), default=0.0))

    def keys(self, crew: Crew) -> dict[str, str]:
        """Return the key of each model on the device that it runs on."""
        return {label: key.replace(" on auto", f" on {crew.device}") for label, key in self.models.items()}

    def run_key(self, crew: Crew) -> str:
        """Return the key of runs of the same models on the same source."""
        return f"run {self.source} by {', '.join(sorted(self.keys(crew).values()))}"

    def least_seconds(self, read_seconds: float, embed_seconds: float, crew: Crew) -> float:
        """Return how long reading and embedding take side by side; what one waits for at first is added."""
        reading = read_seconds / max(1.0, min(crew.fetch_slots, self.reads))
        embedding = embed_seconds / max(1.0, min(crew.embedders, max(self.items.values(), default=1.0)))
        rounds = max(1.0, self.reads / max(1, crew.fetch_slots))
        return max(reading, embedding) + min(reading, embedding) / rounds


@dataclass(frozen=True)
class Spent:
    """What a run took: its reads, the items that were decided and embedded by model, and seconds."""

    reads: float
    read_seconds: float
    embed_seconds: Mapping[str, float]
    decided: Mapping[str, float]
    embedded: Mapping[str, float]
    wall_seconds: float
    scenes: float | None = None
    load_seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def setup_seconds(self) -> float:
        """Seconds in which models were loaded."""
        return sum(self.load_seconds.values())


@dataclass(frozen=True)
class Times:
    """How long a run is expected to take, None where no run on this machine has measured it, and what that is."""

    read_seconds: float | None = None
    embed_seconds: float | None = None
    setup_seconds: float | None = None
    wall_seconds: float | None = None
    unknown: tuple[str, ...] = ()

    @classmethod
    def of(cls, work: Work, crew: Crew) -> Self:
        """Look up what is known of some work on some workers."""
        known, keys = rates(), work.keys(crew)
        data = known.get(f"data {work.source}", 1.0)
        reading = known.get(f"read {work.source}")
        if reading is not None:
            reading *= work.reads * work.layers * (1.0 if work.is_counted else known.get(f"scenes {work.source}", 1.0))
        each = {label: _known(known, f"embed {key}", work.tokens.get(label, 0.0)) for label, key in keys.items()}
        amount = {label: work.items[label] * work.tokens.get(label, 0.0) * data for label in keys}
        embedding = _total({label: rate and rate * amount[label] for label, rate in each.items()})
        loading = {label: known.get(f"load {key}") for label, key in keys.items() if label not in crew.loaded}
        setup = _total(loading)
        unknown = [work.source] if reading is None else []
        unknown += [keys[label] for label, rate in each.items() if rate is None]
        unknown += [f"loading {keys[label]}" for label in loading if loading[label] is None and each[label] is not None]
        if reading is None or embedding is None or setup is None:
            return cls(reading, embedding, setup, None, tuple(unknown))
        least = work.least_seconds(reading, embedding, crew)
        longer = _known(known, work.run_key(crew), sum(work.tokens.values())) or 1.0
        return cls(reading, embedding, setup, setup + least * longer)

    def to_dict(self) -> dict[str, float | None]:
        """Write the times as JSON."""
        return {name: value for name, value in asdict(self).items() if name != "unknown"}


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Work, the workers that will do it, and how long that takes as far as runs on this machine have measured it."""

    work: Work = field(default_factory=Work)
    crew: Crew = field(default_factory=lambda: Crew(1, 1))
    times: Times = field(default_factory=Times)

    def on(self, crew: Crew) -> Self:
        """Return the same work on some workers, with the times that this machine knows of it."""
        return replace(self, crew=crew, times=Times.of(self.work, crew))

    def timed_dict(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return some values of a plan with its workers and times in place of what they were computed from."""
        plain = {name: value for name, value in values.items() if name not in {"work", "crew", "times"}}
        return plain | {"fetch_slots": self.crew.fetch_slots, "embedders": self.crew.embedders} | self.times.to_dict()


def _total(parts: Mapping[str, float | None]) -> float | None:
    """Add up what is known whole."""
    values = [value for value in parts.values() if value is not None]
    return sum(values) if len(values) == len(parts) else None


def source_key(recipe: Recipe) -> str:
    """Name what a run reads: provider and host, options that say how quickly it answers, collections, products."""
    parts = []
    if recipe.groups:
        parts.append(_place(recipe.provider.describe()))
        parts += dict.fromkeys(group.sensor for group in recipe.groups)
    parts += [f"{entry.label} at {urlsplit(entry.reader.place).hostname or 'files'}" for entry in recipe.products]
    return " ".join(parts)


def _place(described: Mapping[str, Any]) -> str:
    """Name a provider without its secrets and its port, which differs from run to run where it is local."""
    host = urlsplit(str(described.get("url", ""))).hostname
    pace = "".join(f" {name}={described[name]}" for name in _PACE if described.get(name))
    return f"{described.get('name')}{f' at {host}' if host else ''}{pace}"


def model_key(one: Chosen) -> str:
    """Name a model and all that changes how long it takes, its weights aside."""
    spec, variant = one.spec, one.card.variant_for(one.spec).name
    how = [spec.modality, spec.to_dict()["options"], spec.dtype, one.asked_prep.to_dict()]
    digest = hashlib.sha256(json.dumps(how, sort_keys=True, default=str).encode()).hexdigest()[:8]
    return f"{one.card.id} {variant} {digest} on {spec.device.partition(':')[0]}"


def keep(work: Work, crew: Crew, spent: Spent) -> None:
    """Keep what a run has measured; a folder that cannot be written to is a warning."""
    measured = {name: value for name, value in _measured(work, crew, spent).items() if 0 < value < _LONGEST_S}

    def merged() -> str:
        kept = _read(_file())
        for name, value in measured.items():
            old = kept.pop(name, {"value": value, "runs": 0})
            mean = (1 - _RECENT) * old["value"] + _RECENT * value
            kept[name] = {"value": mean, "runs": int(old["runs"]) + 1}
        return json.dumps({"rates": dict(list(kept.items())[-_MOST_RATES:])}, indent=1)

    try:
        Cache().update(_FILE, merged)
    except (OSError, ProviderError) as error:
        is_ours = isinstance(error, ProviderError)  # there is no folder at all
        reason = str(error).rstrip(".") if is_ours else f"{_file()} cannot be written ({type(error).__name__})"
        warnings.warn(f"{reason}: how long this run took is not kept for later estimates", UserWarning, stacklevel=2)


def _measured(work: Work, crew: Crew, spent: Spent) -> dict[str, float]:
    """Return the rates of a run; what did not happen has none."""
    keys, source = work.keys(crew), work.source
    ratio = 1.0
    measured = {}
    if spent.reads and work.layers:
        ratio = 1.0 if spent.scenes is None else spent.scenes / max(1e-9, work.scenes * spent.reads)
        measured[f"scenes {source}"] = ratio
        measured[f"read {source}"] = spent.read_seconds / (work.layers * spent.reads * ratio) if ratio else 0.0
    decided = sum(spent.decided.values())
    if decided:
        measured[f"data {source}"] = sum(spent.embedded.values()) / decided
    for label, key in keys.items():
        if tokens := work.tokens.get(label, 0.0) * spent.embedded.get(label, 0.0):
            rate = spent.embed_seconds.get(label, 0.0) / tokens
            measured |= dict.fromkeys(_sized(f"embed {key}", work.tokens[label]), rate)
        measured[f"load {key}"] = spent.load_seconds.get(label, 0.0)
    embedding = sum(spent.embed_seconds.values())
    if least := work.least_seconds(spent.read_seconds, embedding, crew):
        longer = (spent.wall_seconds - spent.setup_seconds) / least
        measured |= dict.fromkeys(_sized(work.run_key(crew), sum(work.tokens.values())), longer)
    return measured


def _sized(name: str, tokens: float) -> tuple[str, str]:
    """Return the names of a rate: of items of about so many tokens, which also cost something each, and of any."""
    return f"{name} of 2^{round(math.log2(max(1.0, tokens)))} tokens", name


def _known(known: Mapping[str, float], name: str, tokens: float) -> float | None:
    """Return the rate of items of about this size, else of any."""
    return next((known[one] for one in _sized(name, tokens) if one in known), None)


def rates() -> dict[str, float]:
    """Return what is known by its name; a damaged file is as none, with a warning."""
    try:
        return {name: one["value"] for name, one in _read(_file()).items()}
    except (OSError, ProviderError):
        return {}


def _file() -> Path:
    return Cache().root / _FILE


def _read(path: Path) -> dict[str, dict[str, float]]:
    try:
        kept: Any = strict_json(_bytes(path))["rates"]
        return {str(name): {"value": _rate(one["value"]), "runs": int(one["runs"])} for name, one in kept.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"{path} cannot be read ({type(error).__name__})"
        warnings.warn(f"{reason}: estimates begin anew, and the next run replaces it", UserWarning, stacklevel=2)
        return {}


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(len(content))
    return content


def _rate(value: object) -> float:
    rate = float(value)  # type: ignore[arg-type]
    if not 0 < rate < _LONGEST_S:
        raise ValueError(value)
    return rate
