"""Collections that no table has: what their provider states of their bands, as a sensor of this process."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.imagery.numbers import Numbers
from rs_embed_dask.imagery.sensor_types import STATED, Band, PropertyNames, Scaling, Sensor, Source, Unit
from rs_embed_dask.imagery.sensors import add_sensor

__all__ = ["StatedBand", "StatedCollection"]

_REVISIT_DAYS: Final = 5.0


@dataclass(frozen=True)
class StatedBand:
    """One band as its provider describes it; `asset` is what holds it there."""

    name: str
    asset: str
    numbers: Numbers = field(default_factory=Numbers)
    common: str = ""
    wavelength_um: float | None = None
    resolution_m: float = 10.0
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class StatedCollection:
    """A collection as its provider describes it: without bands where nothing is stated of them.

    `provider` is whose tables a read looks in, `place` tells catalogues with the same tables apart.
    """

    provider: str
    id: str
    bands: tuple[StatedBand, ...] = ()
    cloud: tuple[str, ...] = ()
    place: str = ""

    def band(self, name: str) -> StatedBand:
        """Find a band by its name or its only alias. Raises UnknownNameError."""
        if not self.bands:
            return StatedBand(name, name)
        own = [band for band in self.bands if band.name == name]
        own = own or [band for band in self.bands if name in band.aliases]
        if len(own) != 1:
            raise UnknownNameError.among(f"band of {self.id}", name, [band.name for band in self.bands])
        return own[0]

    def add(self, names: Sequence[str], serve_as: Sequence[tuple[str, Unit]] = ()) -> str:
        """Make some bands readable under an id, which is returned; the same bands have the same id.

        `serve_as` are the common names and units of the bands that a model takes in their place. Without it they keep
        their names and the units in which they are stated.
        """
        bands = [self.band(name) for name in names]
        roles = serve_as or [(re.sub(r"\W+", "_", name), STATED) for name in names]
        pairs = list(zip(bands, roles, strict=True))
        scalings = tuple((common, self._scaling(band, unit)) for band, (common, unit) in pairs)
        assets = tuple((common, (band.asset,)) for band, (common, _) in pairs)
        mark = zlib.crc32(repr((self.place, self.cloud, roles, assets, scalings)).encode())
        named = f"{self.id}@{self.provider}#{mark:08x}"
        of = Sensor(
            id=named,
            title=self.id,
            kind="optical" if self.cloud else "product",  # where clouds are stated they can be limited
            bands=tuple(
                Band(common, band.name, band.resolution_m, unit, band.wavelength_um) for band, (common, unit) in pairs
            ),
            resolution_m=min(band.resolution_m for band in bands),
            revisit_days=_REVISIT_DAYS,
        )
        properties = PropertyNames(cloud=self.cloud, platform=(), orbit=())
        add_sensor(of, Source(self.provider, named, self.id, assets, scalings, properties=properties))
        return named

    def _scaling(self, band: StatedBand, unit: Unit) -> Scaling:
        """Return how a band's numbers become those of a unit, by what is stated of them."""
        numbers = band.numbers
        if unit == STATED:
            made = Scaling(numbers.scale, numbers.offset)
        else:
            try:
                made = numbers.scaling(Scaling(), unit, f"{band.name} of {self.id}")
            except SpecError as error:
                fix = "choose another band, or a model that takes it"
                raise SpecError(error.what, value=error.value, reason=error.reason, fix=fix) from error
        return replace(made, nodata=next(iter(numbers.missing), None))
