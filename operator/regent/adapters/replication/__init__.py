"""What the replicator needs of API servers: reflections of their objects, and changes to copies on the way."""
