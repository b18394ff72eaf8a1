"""The Kubernetes API: client, connection, leader lease, events, generated access rules."""
