"""The agent: the process inside a region that fences it when it is cut off from the hub, or asked to."""
