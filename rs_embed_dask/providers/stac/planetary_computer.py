"""Microsoft's Planetary Computer, whose files are read by links with tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from rs_embed_dask.providers.http import PlanetaryComputerTokens
from rs_embed_dask.providers.stac.provider import StacProvider

if TYPE_CHECKING:
    from rs_embed_dask.providers.http import Signer

__all__ = ["URL", "PlanetaryComputer"]

URL: Final = "https://planetarycomputer.microsoft.com/api/stac/v1"


@dataclass(frozen=True, repr=False)
class PlanetaryComputer(StacProvider):
    """Reads the Planetary Computer's collections.

    Links stay unsigned in searches, graphs, stores and messages. The worker that reads a file asks the token issuer
    through the `planetary_computer` package (which takes a subscription key from its own settings, if there is one),
    once per container and process, and again when the token's own expiry comes near.

    Parameters
    ----------
    url
        Address of the API.
    source, collections, assets, absent, threads, chunk_px, retry, fallback, credentials
        As of `StacProvider`; the tables are the Planetary Computer's.

    Examples
    --------
    >>> sorted(PlanetaryComputer().sensors())[-2:]
    ['sentinel-1-rtc', 'sentinel-2-l2a']
    """

    url: str = URL
    source: str = "planetary_computer"

    name: ClassVar[str] = "planetary_computer"

    @property
    def signer(self) -> Signer:
        """Signer of links, with tokens of the Planetary Computer."""
        return PlanetaryComputerTokens()
