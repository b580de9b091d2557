"""Where the use case's commands take imagery from: the options that they share, and the provider that these mean."""

from __future__ import annotations

import rs_embed_dask as rs
from rs_embed_dask.cli.request import setting

USUAL = "planetary_computer"


def add_options(parser):
    """Add the options to a command line: those of ``rs-embed-dask``, so that what an error advises is there."""
    parser.add_argument("--provider", default=USUAL, help="where imagery comes from")
    parser.add_argument(
        "--provider-option", action="append", default=[], metavar="NAME=VALUE", help="of the provider; can be repeated"
    )


def opened(told):
    """Open the provider that a command line names."""
    return rs.open_provider(told.provider, **dict(setting(text) for text in told.provider_option))
