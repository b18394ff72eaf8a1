"""The replicator: keeps copies of objects in step in other regions. Talks to ports only."""
