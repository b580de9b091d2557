"""A card and its encoder, loaded onto a device: from images to vectors and grids."""
