"""A card and its encoder, with weights in it and on a device: what turns images into vectors and grids."""
