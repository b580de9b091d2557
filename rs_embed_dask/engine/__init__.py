"""The engine: plan, graph, run. It drives reads, models and the store, and knows none of them by name."""

from __future__ import annotations
