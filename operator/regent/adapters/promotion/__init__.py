"""Adapters of `regent.engine.promotion`: what has a role in each region, and how it is given and taken."""
