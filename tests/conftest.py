"""What all tests share: the fixtures of the local control plane, made only where a test asks for them."""

import asyncio

from hypothesis import settings

# A slow machine is no reason for a test to fail: what examples cost is not judged, only what they show.
settings.register_profile("regent", deadline=None)
settings.load_profile("regent")

pytest_plugins = ["tests.cluster_fixtures"]

# On Python 3.11 looptime asks for the current event loop while it loads, which makes one that nobody closes: the run
# would end with a warning about it, and warnings are errors here.
asyncio.set_event_loop(None)
