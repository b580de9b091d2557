"""Cards: what each model declares about itself, as data; a file a model. No torch."""
