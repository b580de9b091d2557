"""A client as a process: runs the plan it is given on the cluster it is given."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from distributed import Client

from rs_embed_dask.engine.driver import run_plan
from rs_embed_dask.engine.watch import Options
from rs_embed_dask.store import Store


def main(job):
    plan, target, address = pickle.loads(Path(job).read_bytes())
    with Client(address) as client:
        run_plan(plan, Store.open(target, "r+"), client, options=Options(progress=False))


if __name__ == "__main__":
    main(sys.argv[1])
