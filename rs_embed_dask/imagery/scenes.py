"""Scenes: one acquisition each, and which of them show the same observation."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rs_embed_dask.imagery.sensor_types import PropertyNames

__all__ = ["Scene", "flies", "observations", "ordered", "solar_day"]

_DEGREES_PER_HOUR: Final = 15.0
_NAMES: Final = PropertyNames()


@dataclass(frozen=True)
class Scene:
    """One acquisition as a provider lists it, without signed links.

    Parameters
    ----------
    id : str
        Unique within its collection.
    datetime : datetime.datetime
        Acquisition time; UTC is assumed if it has no time zone.
    cloud_pct : float, optional
        Cloud cover that the provider states, 0 to 100; None if it states none.
    properties : mapping
        What the catalogue states about it, JSON values only.
    """

    id: str
    datetime: dt.datetime
    cloud_pct: float | None = None
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        when = self.datetime
        utc = when.replace(tzinfo=dt.UTC) if when.tzinfo is None else when.astimezone(dt.UTC)
        object.__setattr__(self, "datetime", utc)

    def first(self, names: Sequence[str]) -> Any:
        """Return the first property of `names` that the scene has.

        Parameters
        ----------
        names : sequence of str
            Property names, the preferred first.

        Returns
        -------
        object
            Its value, or None.
        """
        return next((self.properties[name] for name in names if self.properties.get(name) is not None), None)


def solar_day(when: dt.datetime, lon: float) -> dt.date:
    """Return the local solar date, which does not change within one pass of a satellite."""
    return (when + dt.timedelta(hours=lon / _DEGREES_PER_HOUR)).date()


def flies(orbit: object, wanted: str | None) -> bool:
    """Return whether a scene's direction of flight is the one that is wanted; one that states none is not."""
    return wanted is None or str(orbit).lower() == wanted


def ordered(scenes: Iterable[Scene]) -> tuple[Scene, ...]:
    """Sort scenes by time, then by id, so that results do not depend on the catalogue's order; drop repeated ids."""
    return tuple(sorted({scene.id: scene for scene in scenes}.values(), key=lambda scene: (scene.datetime, scene.id)))


def observations(scenes: Sequence[Scene], *, lon: float, names: PropertyNames = _NAMES) -> tuple[tuple[int, ...], ...]:
    """Group scenes of the same observation: the same solar day, platform and orbit direction."""
    # Neighbouring tiles of one pass overlap, and so do the halves of a pass in two UTM zones. Their pixels were
    # taken in the same second, so a composite must count them once.
    rank = sorted(range(len(scenes)), key=lambda i: (scenes[i].datetime, scenes[i].id))
    groups: dict[tuple[dt.date, str, str], list[int]] = {}
    for i in rank:
        scene = scenes[i]
        platform, orbit = (str(scene.first(keys) or "").lower() for keys in (names.platform, names.orbit))
        groups.setdefault((solar_day(scene.datetime, lon), platform, orbit), []).append(i)
    return tuple(tuple(members) for members in groups.values())
