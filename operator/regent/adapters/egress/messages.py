"""What Regent and endpoints of users say to each other: the models behind the reference.

`docs/reference/receivers.md` and its JSON schema are made from these models (`reference`). Requests are written by
Regent and never grow smaller; answers are read strictly where a wrong word could promote twice, and whatever else a
receiver adds to them is left alone.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

MAX_SNAPSHOT = 16 * 1024
"""Bytes of a receiver's snapshot, as JSON: it is kept in the run."""

Action = Literal["observe", "promote", "demote", "restore", "sync"]


class Message(BaseModel):
    """Base of all messages: camelCase on the wire."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class PromotionRequest(Message):
    """What is posted to the URL of a promotion step of type HTTP. Empty fields are left out."""

    action: Action = Field(
        description="observe: say which role the region has, change nothing. promote: make the region active. demote: "
        "make it a standby that does not write. restore: bring back the state of `snapshot`. sync: say whether "
        "`region` has everything that `source` acknowledged before it was demoted. promote, demote and restore are "
        "answered as soon as the change has been asked for; observe tells when it is done."
    )
    policy: str = Field(description="Namespace and name of the FailoverPolicy.")
    step: str = Field(description="Name of the promotion step.")
    region: str = Field(description="Region that is meant.")
    source: str | None = Field(
        default=None, description="promote: region that had the role. sync: region to catch up with."
    )
    successor: str | None = Field(default=None, description="demote: region that gets the role.")
    fence: str | None = Field(
        default=None,
        description="`<epoch>.<leaseTransitions>.<sequence>`, compared as numbers from left to right. Keep the "
        "greatest that you have seen with promote, demote and restore, and answer a smaller one with 409 and the kept "
        "one: then a late request of an old leader changes nothing.",
    )
    run: str | None = Field(default=None, description="Namespace, name and uid of the Failover.")
    snapshot: dict[str, Any] | None = Field(
        default=None,
        description="restore: `role` and what the receiver itself gave as `snapshot` when it was observed.",
    )


class RoleAnswer(Message):
    """The answer to observe. Answers to promote, demote and restore may be empty."""

    role: Literal["Active", "Standby", "Changing", "Absent", "Unknown"] = Field(
        description="Active: it serves. Standby: it is proved not to write. Changing: on the way, or not the whole of "
        "either. Absent: this region has nothing to promote. Unknown: it could not be asked."
    )
    message: Annotated[str, Field(max_length=1024)] = Field(default="", description="For people.")
    fence: Annotated[str, Field(max_length=64)] = Field(default="", description="The fence that is kept, if any.")
    position: Annotated[int, Field(ge=0, lt=2**63)] | None = Field(
        default=None, description="How far the data is, in a unit of your own; comparable within one `history`."
    )
    history: Annotated[str, Field(max_length=128)] = Field(default="", description="Line of history of `position`.")
    lag_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        default=None, description="How far a standby is behind its source. Leave it out when it is not known."
    )
    snapshot: dict[str, Any] | None = Field(
        default=None,
        description=f"What restore needs to bring back this state; at most {MAX_SNAPSHOT} bytes of JSON, no secrets.",
    )


class SyncAnswer(Message):
    """The answer to sync. A receiver without data answers 501, or done."""

    done: bool = Field(description="Everything that the source acknowledged has been replayed.")
    message: Annotated[str, Field(max_length=1024)] = Field(default="", description="For people.")
    behind: Annotated[int, Field(ge=0, lt=2**63)] | None = Field(default=None, description="How much is missing.")


class Refusal(Message):
    """The body of an answer that is not 2xx."""

    message: Annotated[str, Field(max_length=4096)] = Field(default="", description="Why, for people.")
    fence: Annotated[str, Field(max_length=64)] = Field(
        default="", description="With 409: the greater fence that was here before. The run ends at once."
    )


class Share(Message):
    """The share of a region."""

    region: str = Field(description="Name of the Region.")
    weight_percent: int = Field(description="Share of the traffic in percent.")


class EventPolicy(Message):
    """The FailoverPolicy that an event is about."""

    namespace: str = Field(description="Its namespace.")
    name: str = Field(description="Its name.")
    uid: str = Field(description="Its uid: another policy of the same name has another one.")


class EventRun(Message):
    """The Failover that an event is about."""

    name: str = Field(description="Its name, in the namespace of the policy.")
    uid: str = Field(description="Its uid.")
    requested_by: str = Field(default="", description="Who made it.")


class EventData(Message):
    """What an event says. What is not known is left out."""

    policy: EventPolicy = Field(description="The FailoverPolicy.")
    run: EventRun | None = Field(default=None, description="The Failover, where there is one.")
    hook: str | None = Field(default=None, description="before: name of the hook that is called.")
    on_error: Literal["Continue", "Abort"] | None = Field(
        default=None, description="before: what an answer that is not 2xx, or none, does."
    )
    type: str | None = Field(default=None, description="Type of the run: Failover, Switchover, Failback, Rebalance.")
    trigger: str | None = Field(default=None, description="What started the run.")
    phase: str | None = Field(default=None, description="Phase of the run; completed: the final one.")
    reason: str | None = Field(default=None, description="One word for programs; before: why, for people.")
    message: str | None = Field(
        default=None, description="For people. action-required: with the command that settles it."
    )
    source: str | None = Field(default=None, alias="from", description="Region that is left.")
    to: str | None = Field(default=None, description="Region that takes over.")
    before: list[Share] | None = Field(default=None, description="Shares before the run.")
    after: list[Share] | None = Field(default=None, description="Shares that the run makes.")
    epoch: int | None = Field(default=None, description="Epoch of the run.")
    start_time: str | None = Field(default=None, description="When the run started.")
    detection_time: str | None = Field(default=None, description="When the failure was detected.")
    completion_time: str | None = Field(default=None, description="When the run ended.")
    duration_milliseconds: int | None = Field(default=None, description="From detection (or the start) to the end.")
    estimated_data_loss: str | None = Field(default=None, description="Writes that may be lost.")


class Event(Message):
    """A CloudEvent 1.0 in structured mode: what hooks and notifications are sent."""

    specversion: Literal["1.0"] = Field(description="Version of CloudEvents.")
    id: str = Field(description="The header webhook-id: a repeated event has the same one.")
    type: Literal[
        "dev.regent.failover.before",
        "dev.regent.failover.started",
        "dev.regent.failover.blocked",
        "dev.regent.failover.action-required",
        "dev.regent.failover.completed",
    ] = Field(description="before: a hook is asked. The others are notifications.")
    source: str = Field(description="Path of the FailoverPolicy in the Kubernetes API.")
    subject: str = Field(description="Name of the Failover, or of the policy where there is none.")
    time: str = Field(description="When it happened, RFC 3339.")
    datacontenttype: Literal["application/json"] = Field(description="Type of `data`.")
    data: EventData = Field(description="What happened.")


class RegionPercent(Message):
    """The share of one region."""

    region: str = Field(description="Name of the region.")
    weight_percent: int = Field(description="Its share in percent.")


class DistributionMessage(Message):
    """What is posted to the URL of a webhook target. Any 2xx acknowledges it; the body of the answer is not read."""

    policy: str = Field(description="Namespace and name of the FailoverPolicy.")
    policy_uid: str = Field(description="UID of the FailoverPolicy: a policy made anew counts its epochs from 1.")
    epoch: int = Field(description="Epoch of the policy.")
    fence: str = Field(
        description="`<epoch>.<leaseTransitions>.<sequence>`, compared as numbers from left to right. Keep the "
        "greatest that you have acted on for this policyUid, and answer a smaller one with 409: then a late message "
        "of an old leader changes nothing."
    )
    distribution: list[RegionPercent] = Field(
        description="The shares of all regions, in whole percents that add up to 100: absolute, never a change."
    )
