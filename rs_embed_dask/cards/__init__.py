"""Cards: what each model declares about itself, as data; one file per model. No torch."""
