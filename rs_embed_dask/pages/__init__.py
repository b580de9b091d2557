"""The models in words: a list, and a page for each."""
