"""The demo: a made landscape, the service that serves it, and the walk through both."""
