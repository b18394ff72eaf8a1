"""The steps that a committed run takes, one module for each kind of effect."""
