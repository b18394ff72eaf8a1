"""Makes the promotion drivers of a policy: implements `regent.engine.promotion.DriverFactory`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from regent.adapters.promotion import cnpg, cron_job, scale, virtual_machine, volume_replication
from regent.adapters.promotion.cnpg import CloudNativePgDriver
from regent.adapters.promotion.cron_job import CronJobDriver
from regent.adapters.promotion.driver import ObjectDriver
from regent.adapters.promotion.job import JobDriver
from regent.adapters.promotion.objects import Access, Objects
from regent.adapters.promotion.patch import PatchDriver
from regent.adapters.promotion.scale import ScaleDriver
from regent.adapters.promotion.virtual_machine import VirtualMachineDriver
from regent.adapters.promotion.volume_replication import VolumeReplicationDriver
from regent.domain.errors import PromotionProblemError
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.options import PromotionStep, StepKind
from regent.engine.ports import Clock
from regent.engine.promotion import MemberAccess, PromotionDriver

Constructor = Callable[[PolicySpec, PromotionStep], PromotionDriver]
"""Makes the driver of one step of a policy."""

OWN: Mapping[StepKind, tuple[type[ObjectDriver], Access]] = {
    StepKind.SCALE: (ScaleDriver, scale.ACCESS),
    StepKind.CRON_JOB: (CronJobDriver, cron_job.ACCESS),
    StepKind.CLOUD_NATIVE_PG: (CloudNativePgDriver, cnpg.ACCESS),
    StepKind.VOLUME_REPLICATION: (VolumeReplicationDriver, volume_replication.ACCESS),
    StepKind.VIRTUAL_MACHINE: (VirtualMachineDriver, virtual_machine.ACCESS),
}
"""Steps about Kubernetes objects that Regent changes by its own rights, and what it needs for them."""

IMPERSONATED: Mapping[StepKind, type[ObjectDriver]] = {StepKind.PATCH: PatchDriver, StepKind.JOB: JobDriver}
"""Steps whose objects the policy's author chooses: done with the rights of the policy's ServiceAccount."""


class PromotionDrivers:
    """Implements `DriverFactory` with a constructor for each kind of step."""

    def __init__(self, constructors: Mapping[StepKind, Constructor]) -> None:
        self._constructors = dict(constructors)

    def drivers(self, policy: PolicySpec) -> Sequence[PromotionDriver]:
        """Return one driver for each step of the policy, in order.

        Raises:
            PromotionProblemError: a step has no driver, or lacks what its driver needs.
        """
        return [self._driver(policy, step) for step in policy.options.promotion]

    def _driver(self, policy: PolicySpec, step: PromotionStep) -> PromotionDriver:
        make = self._constructors.get(step.kind)
        if make is None:
            raise PromotionProblemError(
                "StepNotSupported", f"promotion step {step.name}: no driver for {step.kind.value}"
            )
        return make(policy, step)


def object_drivers(members: MemberAccess, *, clock: Clock) -> dict[StepKind, Constructor]:
    """Return the constructors of all steps about Kubernetes objects.

    Args:
        members: how the regions' clusters are reached.
    """

    def own(driver: type[ObjectDriver], access: Access) -> Constructor:
        def make(policy: PolicySpec, step: PromotionStep) -> PromotionDriver:
            return driver(policy, step, Objects(members=members, namespace=policy.namespace, access=access), clock)

        return make

    def impersonated(driver: type[ObjectDriver]) -> Constructor:
        def make(policy: PolicySpec, step: PromotionStep) -> PromotionDriver:
            account = policy.options.service_account
            if not account:
                raise PromotionProblemError(
                    "ServiceAccountMissing",
                    f"promotion step {step.name}: {step.kind.value} steps need spec.serviceAccountName, to act as it",
                )
            objects = Objects(members=members, namespace=policy.namespace, access=None, account=account)
            return driver(policy, step, objects, clock)

        return make

    return {
        **{kind: own(driver, access) for kind, (driver, access) in OWN.items()},
        **{kind: impersonated(driver) for kind, driver in IMPERSONATED.items()},
    }
