"""The demo: a local cluster, a landscape cut into places, and a worker that is killed during the run."""
