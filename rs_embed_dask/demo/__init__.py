"""The demo: a cluster on this machine, a landscape cut into places, and a worker that is killed on the way."""
