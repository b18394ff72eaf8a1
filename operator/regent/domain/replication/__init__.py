"""Replication of Kubernetes objects between regions, as pure functions: what is copied, how a copy looks, what to do
about each object, what may be deleted, and what the state of it all is."""
