"""What Regent serves over HTTP."""
