"""``python -m rs_embed_dask`` is ``rs-embed-dask``."""

from __future__ import annotations

from rs_embed_dask.cli.app import main

if __name__ == "__main__":
    main()
