"""Health: from probe results to a region's verdict."""
