"""Makes the promotion drivers of a policy: implements `regent.engine.promotion.DriverFactory`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from regent.adapters.promotion import scale
from regent.adapters.promotion.driver import ObjectDriver
from regent.adapters.promotion.objects import Access, Objects
from regent.adapters.promotion.scale import ScaleDriver
from regent.domain.errors import PromotionProblemError
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.options import PromotionStep, StepKind
from regent.engine.promotion import MemberAccess, PromotionDriver

Constructor = Callable[[PolicySpec, PromotionStep], PromotionDriver]
"""Makes the driver of one step of a policy."""

OBJECT_DRIVERS: Mapping[StepKind, tuple[type[ObjectDriver], Access]] = {
    StepKind.SCALE: (ScaleDriver, scale.ACCESS),
}
"""Steps about Kubernetes objects that Regent changes by its own rights, and what it needs for them."""


class PromotionDrivers:
    """Implements `DriverFactory` with a constructor for each kind of step."""

    def __init__(self, constructors: Mapping[StepKind, Constructor]) -> None:
        self._constructors = dict(constructors)

    def drivers(self, policy: PolicySpec) -> Sequence[PromotionDriver]:
        """Return one driver for each step of the policy, in order.

        Raises:
            PromotionProblemError: this operator has no driver for a step.
        """
        return [self._driver(policy, step) for step in policy.options.promotion]

    def _driver(self, policy: PolicySpec, step: PromotionStep) -> PromotionDriver:
        make = self._constructors.get(step.kind)
        if make is None:
            raise PromotionProblemError(
                "StepNotSupported", f"promotion step {step.name}: no driver for {step.kind.value}"
            )
        return make(policy, step)


def object_drivers(members: MemberAccess) -> dict[StepKind, Constructor]:
    """Return the constructors of all steps about Kubernetes objects.

    Args:
        members: how the regions' clusters are reached.
    """

    def constructor(driver: type[ObjectDriver], access: Access) -> Constructor:
        def make(policy: PolicySpec, step: PromotionStep) -> PromotionDriver:
            return driver(step, Objects(members=members, namespace=policy.namespace, access=access))

        return make

    return {kind: constructor(*entry) for kind, entry in OBJECT_DRIVERS.items()}
