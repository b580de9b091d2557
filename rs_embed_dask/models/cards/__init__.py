"""The cards: a file a model, pure data."""
