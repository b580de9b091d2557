"""From pixels to what a network takes: inputs and steps as data, sizes, samples, batches."""
