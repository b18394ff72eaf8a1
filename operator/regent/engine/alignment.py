"""Keeps traffic targets at the distribution that was decided, and proves that it arrived.

Two callers: a run that shifts traffic, and the quiet upkeep between runs. Upkeep writes the first weights after an
adoption, repairs drift where the fence says that the weights are ours, and gives way to a writer that insists: three
repairs a minute, then the conflict is shown with the other writer's name. Verification is one request a visit, so that
a slow gateway never stands in the way of a decision.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from regent.domain.errors import ClusterError, FencedOffError, TargetProblemError, UnavailableError
from regent.domain.failover.fence import Fence
from regent.domain.traffic import shares
from regent.engine.ports import Clock, Leadership, Metrics
from regent.engine.traffic import TargetState, TrafficTarget, Verifier

REPAIRS = 3
REPAIR_WINDOW = 60.0
VERIFY_PAUSE = 0.05
"""Seconds between two requests of a verification."""
VERIFY_TRIES = 100
"""Requests without enough successes before a cutover counts as failed (it is then tried every 10 seconds)."""
DNS_PAUSE = 0.25
"""The same for questions to a DNS server, whose records change in seconds: 25 s before it counts as failed."""
SLOW_RETRY = 10.0
PROBLEM_RETRY = 2.0
"""Seconds after which a target that cannot be steered is looked at again, where nothing tells when it can."""
WRITE_RETRY = 0.2
"""Seconds after a write or look that failed, where the error does not say when it is worth trying again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetReport:
    """How far one target has followed; a row of the policy's `status.targets`."""

    ref: str
    epoch: int
    verification: str
    """Verified, AcceptedOnly, Pending, Failed or Conflict."""
    reason: str = ""
    message: str = ""
    retry_after: float | None = None

    @property
    def settled(self) -> bool:
        """Nothing more is expected to happen by itself."""
        return self.verification in ("Verified", "AcceptedOnly")


@dataclass(slots=True)
class _Proof:
    """Successes of a verification under way, for one fence."""

    fence: Fence | None = None
    successes: int = 0
    tries: int = 0
    wrong: str = ""
    verified: bool = False


@dataclass(slots=True)
class _Memory:
    proof: _Proof = field(default_factory=_Proof)
    repairs: deque[float] = field(default_factory=lambda: deque(maxlen=REPAIRS))


class Alignment:
    """Brings targets to a distribution. Remembers only what may be forgotten: proofs and the times of repairs."""

    def __init__(self, *, clock: Clock, leadership: Leadership, verifier: Verifier, metrics: Metrics) -> None:
        self._clock = clock
        self._leadership = leadership
        self._verifier = verifier
        self._metrics = metrics
        self._memory: dict[tuple[str, str], _Memory] = {}

    def forget(self, owner: str) -> None:
        """Drop what is remembered about the targets of a policy that is gone."""
        for key in [key for key in self._memory if key[0] == owner]:
            del self._memory[key]

    async def shift(
        self, targets: Sequence[TrafficTarget], distribution: Mapping[str, int], *, fence: Fence, owner: str
    ) -> list[TargetReport]:
        """Write the weights of a run to all targets at once; a target that fails does not keep the others back.

        Raises:
            LeadershipLostError: checked right before the writes.
            FencedOffError: a newer run or leader has been at a target.
        """
        self._leadership.check()
        writes = [target.apply(distribution, fence=fence, owner=owner) for target in targets]
        results = await asyncio.gather(*writes, return_exceptions=True)
        reports = []
        for target, result in zip(targets, results, strict=True):
            if isinstance(result, FencedOffError):
                raise result
            self._count(owner, target, result)
            reports.append(self._written(target, result, fence))
        return reports

    def _written(self, target: TrafficTarget, result: TargetState | BaseException, fence: Fence) -> TargetReport:
        ref, epoch = target.spec.ref, fence.epoch
        if isinstance(result, TargetProblemError):
            return TargetReport(
                ref=ref,
                epoch=epoch,
                verification="Failed",
                reason=result.reason,
                message=str(result),
                retry_after=PROBLEM_RETRY,
            )
        if isinstance(result, ClusterError):
            message = f"could not be written: {result}"
            return TargetReport(
                ref=ref,
                epoch=epoch,
                verification="Failed",
                reason="WriteFailed",
                message=message,
                retry_after=_again(result),
            )
        if isinstance(result, BaseException):
            raise result
        return TargetReport(
            ref=ref, epoch=epoch, verification="Pending", message="weights written", retry_after=VERIFY_PAUSE
        )

    async def keep(
        self,
        targets: Sequence[TrafficTarget],
        distribution: Mapping[str, int],
        *,
        epoch: int,
        owner: str,
        may_write: bool,
        insist: bool,
    ) -> list[TargetReport]:
        """Look at every target, repair it where it is ours, and go on with its verification.

        Args:
            targets: all targets of the policy.
            distribution: what they should carry.
            epoch: the policy's epoch.
            owner: text of the owner annotation.
            may_write: the active region is proved healthy; without that no first weights are written.
            insist: an outage is on, so keep rewriting instead of giving way to another writer.
        """
        kept = [
            self._keep_one(target, distribution, epoch=epoch, owner=owner, may_write=may_write, insist=insist)
            for target in targets
        ]
        # Side by side: a target in a cluster that hangs keeps none of the others waiting for their turn.
        reports: list[TargetReport] = []
        for result in await asyncio.gather(*kept, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result  # only after all have ended: nothing may go on writing behind the caller's back
            reports.append(result)
        return reports

    async def _keep_one(
        self,
        target: TrafficTarget,
        distribution: Mapping[str, int],
        *,
        epoch: int,
        owner: str,
        may_write: bool,
        insist: bool,
    ) -> TargetReport:
        ref = target.spec.ref
        memory = self._memory.setdefault((owner, ref), _Memory())
        try:
            state = await target.observe(distribution)
        except ClusterError as error:
            message = f"could not be read: {error}"
            return TargetReport(
                ref=ref,
                epoch=epoch,
                verification="Failed",
                reason="ReadFailed",
                message=message,
                retry_after=_again(error),
            )
        if state.problem:
            return TargetReport(
                ref=ref,
                epoch=epoch,
                verification="Failed",
                reason=state.problem,
                message=state.message,
                retry_after=state.poll,
            )
        if state.fence is not None and state.fence.epoch > epoch:
            return _fenced_off(
                ref, epoch, f"{ref} carries fence {state.fence}, newer than epoch {epoch} of this policy"
            )
        ours = state.fence is not None and state.owner == owner
        if state.aligned and ours:
            return await self._verify(target, state, distribution, memory.proof, epoch)
        held = self._may_repair(ref, state, memory, epoch=epoch, ours=ours, may_write=may_write, insist=insist)
        if held is not None:
            return held
        try:
            return (await self.shift([target], distribution, fence=self._next_fence(state, epoch), owner=owner))[0]
        except FencedOffError as error:
            return _fenced_off(ref, epoch, str(error))

    def _may_repair(
        self,
        ref: str,
        state: TargetState,
        memory: _Memory,
        *,
        epoch: int,
        ours: bool,
        may_write: bool,
        insist: bool,
    ) -> TargetReport | None:
        if not may_write and not ours:
            message = "waits until the active region is proved healthy before the first weights are written"
            return TargetReport(ref=ref, epoch=epoch, verification="Pending", message=message, retry_after=1.0)
        drifted = ours and state.fence is not None and state.fence.epoch == epoch
        if not drifted:
            return None
        now = self._clock.monotonic()
        full = len(memory.repairs) == REPAIRS and now - memory.repairs[0] < REPAIR_WINDOW
        if full and insist and now - memory.repairs[-1] >= REPAIR_WINDOW / 12:
            full = False
        if full:
            wait = REPAIR_WINDOW - (now - memory.repairs[0])
            message = (
                f"{state.writer or 'another writer'} keeps changing the weights of {ref}; let it ignore the weights "
                "(docs: GitOps), or remove the target from the policy"
            )
            return TargetReport(
                ref=ref,
                epoch=epoch,
                verification="Conflict",
                reason="TargetConflict",
                message=message,
                retry_after=min(wait, 5.0) if insist else wait,
            )
        memory.repairs.append(now)
        return None

    def _next_fence(self, state: TargetState, epoch: int) -> Fence:
        """A fence of this epoch above the one on the object, so that repairs in a row are told apart."""
        fence = Fence(epoch, self._leadership.transitions, 0)
        if state.fence is not None and state.fence[:2] == fence[:2]:
            return fence._replace(sequence=state.fence.sequence + 1)
        return fence

    async def _verify(
        self, target: TrafficTarget, state: TargetState, distribution: Mapping[str, int], proof: _Proof, epoch: int
    ) -> TargetReport:
        ref = state.ref
        if not state.accepted:
            return TargetReport(
                ref=ref,
                epoch=epoch,
                verification="Pending",
                message=state.accepted_message,
                retry_after=state.poll and min(state.poll, 1.0),
            )
        if target.spec.verification is None:
            return TargetReport(
                ref=ref,
                epoch=epoch,
                verification="AcceptedOnly",
                reason="Accepted",
                message=state.message,
                retry_after=state.poll,
            )
        if proof.fence != state.fence:
            proof.fence, proof.successes, proof.tries, proof.verified = state.fence, 0, 0, False
        if not proof.verified:
            await self._one_request(target, distribution, proof)
        if proof.verified:
            return TargetReport(
                ref=ref,
                epoch=epoch,
                verification="Verified",
                reason="Verified",
                message=state.message,
                retry_after=state.poll,
            )
        in_dns = target.spec.verification.url.startswith("dns:")
        failed = proof.tries >= VERIFY_TRIES
        return TargetReport(
            ref=ref,
            epoch=epoch,
            verification="Failed" if failed else "Pending",
            reason="VerificationFailed" if failed else "",
            message=f"requests to {target.spec.verification.url} do not prove the cutover: {proof.wrong}"
            if proof.wrong
            else f"answers of {'DNS' if in_dns else 'the gateway'} are proving the cutover",
            retry_after=SLOW_RETRY if failed else DNS_PAUSE if in_dns else VERIFY_PAUSE,
        )

    async def _one_request(self, target: TrafficTarget, distribution: Mapping[str, int], proof: _Proof) -> None:
        check = target.spec.verification
        if check is None:
            return
        proof.wrong = await self._verifier.check(target.spec, expected=frozenset(shares.carrying(distribution)))
        proof.tries += 1
        # In a row: one right answer among wrong ones means that the data plane is still turning over.
        proof.successes = proof.successes + 1 if not proof.wrong else 0
        proof.verified = proof.successes >= check.successes

    def _count(self, owner: str, target: TrafficTarget, result: object) -> None:
        namespace, policy, _ = owner.split("/", 2)
        self._metrics.count(
            "regent_target_writes_total",
            namespace=namespace,
            policy=policy,
            target=target.spec.kind,
            result="failed" if isinstance(result, BaseException) else "written",
        )


def _again(error: ClusterError) -> float:
    """Seconds after which it is worth trying again."""
    told = error.retry_after if isinstance(error, UnavailableError) else None
    return WRITE_RETRY if told is None else max(told, WRITE_RETRY)


def _fenced_off(ref: str, epoch: int, what: str) -> TargetReport:
    message = f"{what}; nothing is written. Find the other writer, or remove the annotation regent.dev/fence"
    return TargetReport(ref=ref, epoch=epoch, verification="Conflict", reason="FencedOff", message=message)
