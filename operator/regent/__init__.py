"""Regent: keeps applications up when a whole region goes down."""

__version__ = "0.1.0"
