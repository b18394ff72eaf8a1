"""Failover: from the state of the world to a decision with reasons. Start at `decide`."""
