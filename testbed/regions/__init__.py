"""Simulated regions: small real servers, one process each, that fail on command.

`region.Region` is the handle of one, `group.Regions` starts many at once, `certificates` is their private CA, and
`server` is the program itself (`python -m testbed.regions.server`).
"""

from testbed.regions.group import Regions
from testbed.regions.region import Fault, Ports, Region, Scope

__all__ = ["Fault", "Ports", "Region", "Regions", "Scope"]
