"""Requests to HTTP endpoints of the user's: guarded addresses, bounded answers, signatures."""
