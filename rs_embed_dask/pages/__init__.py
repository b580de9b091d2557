"""What there is to choose from, in words: a list of the models and a page for each."""
