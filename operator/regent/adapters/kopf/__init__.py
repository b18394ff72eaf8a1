"""Watches by kopf, embedded in the event loop of the process."""
