"""Traffic: distributions over regions, and the weights that carry them out."""
