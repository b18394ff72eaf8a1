"""One application in several regions behind the gateway, with the Regent objects that protect it.

`manifests` makes the objects, `scene` publishes them and looks at what became of them, `waiting` waits for conditions.
Used by the demo, the end-to-end tests and the benchmarks.
"""

from testbed.scene.manifests import FAST, failover, policy, region
from testbed.scene.scene import Scene
from testbed.scene.waiting import eventually, never

__all__ = ["FAST", "Scene", "eventually", "failover", "never", "policy", "region"]
