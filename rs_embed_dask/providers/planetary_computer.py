"""Microsoft's Planetary Computer: no account needed for most collections, tokens fetched where pixels are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from rs_embed_dask.providers.signing import PlanetaryComputerTokens, Signer
from rs_embed_dask.providers.stac import StacProvider

__all__ = ["URL", "PlanetaryComputer"]

URL: Final = "https://planetarycomputer.microsoft.com/api/stac/v1"


@dataclass(frozen=True)
class PlanetaryComputer(StacProvider):
    """Reads the Planetary Computer's collections.

    Links stay unsigned in searches, graphs, stores and messages. The worker that reads a file asks the token issuer
    through the `planetary_computer` package (which takes a subscription key from its own settings, if there is one),
    once a container and process, and again when the token's own expiry comes near.

    Parameters
    ----------
    url
        Address of the API.
    source, collections, assets, absent, threads, chunk_px, patience
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
        """Who signs links: the Planetary Computer's token issuer."""
        return PlanetaryComputerTokens()
