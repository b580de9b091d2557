"""Maps: seamless embedding fields of whole regions, on one lattice per projection."""
