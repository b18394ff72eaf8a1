"""What all tests share: the fixtures of the local control plane, made only where a test asks for them."""

import asyncio

pytest_plugins = ["tests.cluster_fixtures"]

# On Python 3.11 looptime asks for the current event loop while it loads, which makes one that nobody closes: the run
# would end with a warning about it, and warnings are errors here.
asyncio.set_event_loop(None)
