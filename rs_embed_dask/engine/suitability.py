"""Which model can run on some data, or at a place: model by modality by provider, with the reason for each no."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.engine.recipe import choose, square_of
from rs_embed_dask.engine.request import Request
from rs_embed_dask.errors import NoImageryError, RsEmbedError, SpecError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.revisit import first_day
from rs_embed_dask.models import all_cards, card
from rs_embed_dask.products.field import year_of
from rs_embed_dask.providers import Provider, open_provider
from rs_embed_dask.providers.files.folders import DATES_FIX, ENDINGS, NO_DATE
from rs_embed_dask.providers.files.provider import Files
from rs_embed_dask.show.tables import counted, table_html, table_text
from rs_embed_dask.specs import FetchSpec, ModelSpec, Spatial, TemporalSpec

if TYPE_CHECKING:
    from rs_embed_dask.engine.recipe import Chosen
    from rs_embed_dask.imagery.scenes import Scene
    from rs_embed_dask.models import Card, ModelInput

__all__ = ["Question", "Suitability", "Verdict", "is_imagery", "judged", "providers_for"]

USUAL: Final = ("planetary_computer", "earth_engine")
"""The providers that are asked about a place where none is named."""
_HEADER: Final = ("model", "modality", "provider", "runs", "dates", "reason")


@dataclass(frozen=True)
class Verdict:
    """Whether one model can run on one modality of one provider.

    Attributes
    ----------
    model, modality, provider : str
        What was judged; the modality is empty for a precomputed product.
    sensors : tuple of str
        What would be read.
    ok : bool
        Whether a run would start and find scenes, as far as was looked.
    dates : tuple of str or None
        ISO days (UTC) with a scene; None where no scenes were looked for.
    reason, fix : str
        Why not, and what to do; empty where it can run.
    """

    model: str
    modality: str
    provider: str
    sensors: tuple[str, ...] = ()
    ok: bool = True
    dates: tuple[str, ...] | None = None
    reason: str = ""
    fix: str = ""

    def row(self) -> tuple[str, ...]:
        """Return its cells for a table."""
        days = "not searched" if self.dates is None else counted(len(self.dates), "day")
        days += f", {self.dates[0]} to {self.dates[-1]}" if self.dates else ""
        why = f"{self.reason}; {self.fix}" if self.fix else self.reason
        return self.model, self.modality, self.provider, "yes" if self.ok else "no", days if self.ok else "", why


@dataclass(frozen=True)
class Suitability:
    """The verdicts, those that can run first; prints as a table, in text and in a notebook.

    Attributes
    ----------
    verdicts : tuple of Verdict
        One for each model, modality and provider.
    """

    verdicts: tuple[Verdict, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """The models that can run, as ``"id"``, each once."""
        return tuple(dict.fromkeys(verdict.model for verdict in self.verdicts if verdict.ok))

    @property
    def _title(self) -> str:
        return f"{counted(len(self.models), 'model')} can run"

    def __str__(self) -> str:
        return table_text(self._title, _HEADER, [verdict.row() for verdict in self.verdicts])

    def _repr_html_(self) -> str:
        return table_html(self._title, _HEADER, [verdict.row() for verdict in self.verdicts])

    def to_dict(self) -> list[dict[str, Any]]:
        """Return the verdicts as JSON values."""
        return [asdict(verdict) for verdict in self.verdicts]


@dataclass(frozen=True)
class Question:
    """Where and when models would run, and whether catalogues are asked."""

    places: Sequence[Spatial] = ()
    temporal: TemporalSpec | None = None
    search: bool = False


def is_imagery(source: object) -> bool:
    """Whether the source holds pixels: a provider, an array, or raster files; else it is places."""
    if isinstance(source, str | PathLike):
        path = Path(source)
        return path.suffix.lower() in ENDINGS or path.is_dir()
    if isinstance(source, list | tuple):
        return bool(source) and all(isinstance(one, str | PathLike) and is_imagery(one) for one in source)
    image = len("bhw")
    return isinstance(source, Provider) or hasattr(source, "dims") or getattr(source, "ndim", 0) >= image


def providers_for(given: object) -> list[Provider]:
    """Open the providers that are named: one, several, or the usual ones."""
    listed: Iterable[Any] = USUAL if given is None else given if isinstance(given, list | tuple) else (given,)
    return [open_provider(one) for one in listed]


def judged(names: Sequence[str] | None, providers: Iterable[Provider], question: Question) -> Suitability:
    """Judge every modality of every model at every provider."""
    cards = all_cards() if names is None else [card(name) for name in names]
    pairs = [(one, modality) for one in cards for modality in _modalities(one)]
    verdicts = [_verdict(one, modality, provider, question) for one, modality in pairs for provider in providers]
    return Suitability(tuple(sorted(verdicts, key=lambda verdict: not verdict.ok)))


def _modalities(of: Card) -> tuple[str, ...]:
    each = tuple(inputs.modality for inputs in of.inputs)
    return tuple("+".join(names) for names in of.modalities) if of.modalities and not of.together else each or ("",)


def _verdict(of: Card, modality: str, provider: Provider, question: Question) -> Verdict:
    sensors: tuple[str, ...] = ()
    try:
        (chosen,) = choose(Request((_spec(of, modality),), provider))
        sensors = tuple(one.sensor for one, _ in chosen.inputs)
        days = _days(chosen, provider, question)
    except RsEmbedError as error:
        reason = f"{error.reason} ({error.value})" if isinstance(error, NoImageryError) else error.reason
        return Verdict(of.id, modality, provider.name, sensors, ok=False, reason=reason, fix=error.fix)
    dates = None if days is None else tuple(day.isoformat() for day in sorted(days))
    return Verdict(of.id, modality, provider.name, sensors, dates=dates)


def _spec(of: Card, modality: str) -> ModelSpec:
    """Name a modality, with the first variant that accepts it."""
    fits = (variant.name for variant in of.variants if variant.modality in {"", modality})
    return ModelSpec(of.id, variant=next(fits, None), modality=modality or None)


def _days(chosen: Chosen, provider: Provider, question: Question) -> set[dt.date] | None:
    """Return the days of the scenes that a model would read, None where none were looked for; raise why not."""
    if chosen.product is not None:
        if chosen.card.is_published and isinstance(provider, Files):
            reason, fix = "its vectors are published, not computed from pixels", "give a place and a year"
            raise SpecError("product", value=chosen.card.id, reason=reason, fix=fix)
        if question.temporal is not None and chosen.card.years != (0, 0):
            year_of(question.temporal, chosen.card.id, chosen.card.years)
        return None
    days: set[dt.date] = set()
    for one, metres in chosen.inputs:
        span = _span(one, question)
        if isinstance(provider, Files):
            days |= _of_files(chosen.card, one, provider.scenes(), span)
        elif question.search and span is not None:
            days |= _searched(one, metres, provider, question.places, span)
        else:
            return None
    return days


def _span(one: ModelInput, question: Question) -> Span | None:
    """Return the span; refuse one before the sensor's first scene."""
    first = first_day(one.sensor)
    span = None if question.temporal is None else Span.of(question.temporal)
    if first is not None and span is not None and span.end <= first:
        reason, fix = f"{one.sensor} has scenes from {first} on", "choose a later span or another modality"
        raise NoImageryError("span", value=f"{span.start} to {span.end}", reason=reason, fix=fix)
    return span


def _searched(
    one: ModelInput, metres: float, provider: Provider, places: Iterable[Spatial], span: Span
) -> set[dt.date]:
    days: set[dt.date] = set()
    for place in places:
        grid, _ = square_of(place, metres, None)
        scenes = provider.search(one.sensor, grid, span, fetch=FetchSpec(max_cloud_pct=one.max_cloud_pct))
        days |= _dated(scenes, place, span)
    return days


def _of_files(of: Card, one: ModelInput, scenes: Sequence[Scene], span: Span | None) -> set[dt.date]:
    there = {str(layer) for scene in scenes for layer in scene.properties.get("assets", ())}
    lacking = [band for band in one.bands if band not in there]
    if lacking:
        reason = f"it needs {', '.join(lacking)} too, and the data have {', '.join(sorted(there - {''})) or 'no bands'}"
        kept = tuple(band for band in one.bands if band in there)
        fix = "add these bands, or choose another model"
        if (of.any_bands or of.masks) and kept:
            fix = f"choose bands by the model's option: ModelSpec({of.id!r}, options={{'bands': {kept!r}}})"
        raise SpecError("bands", value=lacking, reason=reason, fix=fix)
    if any(scene.datetime == NO_DATE for scene in scenes):
        raise SpecError("dates", value=None, reason="nothing states when it was taken", fix=DATES_FIX)
    return _dated(scenes, "the data", span)


def _dated(scenes: Iterable[Scene], where: object, span: Span | None) -> set[dt.date]:
    days = {scene.datetime.date() for scene in scenes}
    inside = {day for day in days if span is None or day in span}
    if not inside:
        had = f"; there are {min(days)} to {max(days)}" if days else ""
        raise NoImageryError("scenes", value=where, reason=f"no scene lies in the span{had}", fix="choose another span")
    return inside
