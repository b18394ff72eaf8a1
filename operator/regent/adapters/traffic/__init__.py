"""Traffic targets: the objects whose weights carry a decision out."""
