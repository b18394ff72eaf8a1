"""What all tests share: the fixtures of the local control plane, made only where a test asks for them."""

import asyncio
import os

from hypothesis import HealthCheck, settings

# A slow machine is no reason for a test to fail: what examples cost is not judged, only what they show. A change is
# judged by the same examples each time; `make test-properties` looks for new ones.
settings.register_profile("regent", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "search", settings.get_profile("regent"), derandomize=False, max_examples=2000, print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "regent"))

pytest_plugins = ["tests.cluster_fixtures"]

# On Python 3.11 looptime asks for the current event loop while it loads, which makes one that nobody closes: the run
# would end with a warning about it, and warnings are errors here.
asyncio.set_event_loop(None)
