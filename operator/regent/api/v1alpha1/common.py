"""Field types that several kinds share: bounded strings, durations, URLs, references, conditions, metadata.

Each alias carries its bounds and, where it has a syntax, a CEL rule whose message says what to write instead.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, JsonValue

from regent.api.v1alpha1 import cel
from regent.api.v1alpha1.base import LIST_ATOMIC, LIST_SET, PRESERVE_UNKNOWN, ApiModel, Schema, check, list_map

Text63 = Annotated[str, Field(max_length=63)]
Text128 = Annotated[str, Field(max_length=128)]
Text253 = Annotated[str, Field(max_length=253)]
Text256 = Annotated[str, Field(max_length=256)]
Text1024 = Annotated[str, Field(max_length=1024)]
Text4096 = Annotated[str, Field(max_length=4096)]
Message = Annotated[str, Field(max_length=1024)]

Duration = Annotated[str, Field(max_length=32)]
Percent = Annotated[int, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0, le=2_147_483_647)]
LongCount = Annotated[int, Field(ge=0, le=9_007_199_254_740_991)]
Milliseconds = Annotated[int, Field(ge=0, le=9_007_199_254_740_991)]
Time = Annotated[AwareDatetime, Schema(extra={"maxLength": 40})]

LABEL_MESSAGE = (
    "write a region's name: lower-case letters, digits and '-', at most 63 characters, "
    "with a letter or digit at both ends"
)
RegionName = Annotated[str, Field(min_length=1, max_length=63), check(cel.matches("self", cel.LABEL), LABEL_MESSAGE)]
OptionalRegionName = Annotated[
    str, Field(max_length=63), check(cel.unset_or(cel.matches("self", cel.LABEL)), LABEL_MESSAGE)
]
RegionSet = Annotated[list[RegionName], Field(max_length=64), LIST_SET]

NAME_MESSAGE = (
    "write a Kubernetes object name: lower-case letters, digits, '-' and '.', with a letter or digit at both ends"
)
ObjectName = Annotated[
    str, Field(min_length=1, max_length=253), check(cel.matches("self", cel.SUBDOMAIN), NAME_MESSAGE)
]
OptionalObjectName = Annotated[
    str, Field(max_length=253), check(cel.unset_or(cel.matches("self", cel.SUBDOMAIN)), NAME_MESSAGE)
]
Label = Annotated[
    str,
    Field(min_length=1, max_length=63),
    check(
        cel.matches("self", cel.LABEL),
        "write a name of lower-case letters, digits and '-', with a letter or digit at both ends",
    ),
]
OptionalNamespace = Annotated[
    str,
    Field(max_length=63),
    check(
        cel.unset_or(cel.matches("self", cel.LABEL)),
        "write a namespace: lower-case letters, digits and '-', with a letter or digit at both ends",
    ),
]
SecretKey = Annotated[
    str,
    Field(min_length=1, max_length=253),
    check(cel.matches("self", "^[-._a-zA-Z0-9]+$"), "write a key of the Secret: letters, digits, '-', '_' and '.'"),
]

URL_MESSAGE = "write a URL with scheme and host and without credentials, such as https://host.example.com/path"
HttpUrl = Annotated[str, Field(min_length=1, max_length=1024), check(cel.url("self"), URL_MESSAGE)]
OptionalHttpUrl = Annotated[str, Field(max_length=1024), check(cel.unset_or(cel.url("self")), URL_MESSAGE)]
ProbeUrl = Annotated[
    str,
    Field(max_length=1024),
    check(
        cel.unset_or(cel.url("self", "https?|tcp|grpcs?")),
        "write a URL with scheme http, https, tcp, grpc or grpcs and a host, without credentials, "
        "such as https://eu.shop.example.com",
    ),
]
HostHeader = Annotated[
    str,
    Field(max_length=260),
    check(
        cel.unset_or(cel.matches("self", cel.HOST_HEADER)),
        "write a host name with an optional port, such as shop.example.com:8443",
    ),
]
TimeZone = Annotated[
    str,
    Field(max_length=64),
    check(cel.unset_or(cel.matches("self", cel.TIME_ZONE)), "write an IANA time zone, such as Europe/Dublin or UTC"),
]
CRON_MESSAGE = "write a cron schedule of five fields (minute hour day month weekday), such as 0 2 * * 6"
Cron = Annotated[str, Field(min_length=1, max_length=128), check(cel.matches("self", cel.CRON), CRON_MESSAGE)]
OptionalCron = Annotated[str, Field(max_length=128), check(cel.unset_or(cel.matches("self", cel.CRON)), CRON_MESSAGE)]
RawObject = Annotated[dict[str, Any], Field(max_length=64), Schema(extra={PRESERVE_UNKNOWN: True})]
RawValue = Annotated[Any, Schema(extra={PRESERVE_UNKNOWN: True})]

ComplianceSet = Annotated[
    list[
        Annotated[
            str,
            Field(min_length=1, max_length=63),
            check(
                cel.matches("self", cel.IDENTIFIER),
                "write a framework's name with letters, digits, '-', '_' and '.', such as GDPR",
            ),
        ]
    ],
    Field(max_length=32),
    LIST_SET,
]


class SecretRef(ApiModel):
    """A Secret in the object's own namespace. `{}` means unset."""

    ATOMIC = True

    name: OptionalObjectName = Field(default="", description="Name of the Secret. Empty means that no Secret is used.")


class SecretKeyRef(SecretRef):
    """A key of a Secret in the object's own namespace. `{}` means unset."""

    key: SecretKey | None = Field(
        default=None, description="Key in the Secret. Unset means the key that the field's description names."
    )


class RegionSecretRef(ApiModel):
    """A Secret for a Region, which has no namespace of its own. `{}` means unset."""

    ATOMIC = True

    namespace: OptionalNamespace = Field(
        default="",
        description="Namespace of the Secret. Empty means the operator's namespace; any other one must be listed in "
        "the setting `secretNamespaces`, else the Region becomes Ready=False/SecretNamespaceNotAllowed.",
    )
    name: OptionalObjectName = Field(default="", description="Name of the Secret. Empty means that no Secret is used.")


class RegionSecretKeyRef(RegionSecretRef):
    """A key of a Secret for a Region. `{}` means unset."""

    key: SecretKey | None = Field(
        default=None, description="Key in the Secret. Unset means the key that the field's description names."
    )


ConditionStatus = Literal["True", "False", "Unknown"]


class Condition(ApiModel):
    """One aspect of the object's state, in the shape of the Kubernetes API conventions."""

    type: Annotated[str, Field(min_length=1, max_length=316)] = Field(description="Name of the condition.")
    status: ConditionStatus = Field(description="Whether the condition holds: True, False or Unknown.")
    observed_generation: LongCount | None = Field(
        default=None, description="Generation of the object that the condition is about."
    )
    last_transition_time: Time = Field(description="When the status of the condition last changed.")
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")] = (
        Field(description="One CamelCase word for programs: why the condition has this status.")
    )
    message: Annotated[str, Field(max_length=32768)] = Field(
        description="For people: what was seen and what to do. May be empty."
    )


_PENDING: dict[str, JsonValue] = {
    "type": "Ready",
    "status": "Unknown",
    "reason": "Pending",
    "message": "The operator has not looked at this object yet",
    "lastTransitionTime": "1970-01-01T00:00:00Z",
}


def initial_conditions() -> list[Condition]:
    """Give the conditions of an object that no operator has seen yet."""
    return [Condition.model_validate(_PENDING)]


def conditions_field(types: str) -> Any:
    """Declare `status.conditions`, defaulted to Ready=Unknown so that waits are right before the first visit."""
    return Field(
        default_factory=initial_conditions,
        description=f"Observations of the object's state, one item for each type: {types}. "
        "Ready says that the spec was understood and is being acted on.",
        json_schema_extra={"default": [_PENDING]},
    )


def tally(description: str) -> Any:
    """Declare a counter of a status: zero when absent, and not written by a schema default."""
    return Field(default=0, description=description, json_schema_extra={"default": None})


Conditions = Annotated[list[Condition], Field(max_length=32), list_map("type")]


class OwnerReference(ApiModel):
    """The object that owns this one."""

    api_version: Text256 = Field(description="API version of the owner.")
    kind: Text256 = Field(description="Kind of the owner.")
    name: Text253 = Field(description="Name of the owner.")
    uid: Text128 = Field(description="UID of the owner.")
    controller: bool | None = Field(default=None, description="Whether the owner is the managing controller.")
    block_owner_deletion: bool | None = Field(
        default=None, description="Whether the owner's foreground deletion waits for this object."
    )


class ObjectMeta(ApiModel):
    """The standard metadata of a Kubernetes object, as far as Regent reads it."""

    name: str = Field(default="", description="Name of the object.")
    generate_name: str | None = Field(default=None, description="Prefix of a generated name.")
    namespace: str | None = Field(default=None, description="Namespace of the object.")
    uid: str | None = Field(default=None, description="UID of the object.")
    resource_version: str | None = Field(default=None, description="Opaque version for compare-and-set.")
    generation: int | None = Field(default=None, description="Raised at each change of the spec.")
    creation_timestamp: datetime | None = Field(default=None, description="When the object was created.")
    deletion_timestamp: datetime | None = Field(default=None, description="When its deletion was asked for.")
    labels: dict[str, str] = Field(default_factory=dict, description="Labels.")
    annotations: dict[str, str] = Field(default_factory=dict, description="Annotations.")
    finalizers: list[str] = Field(default_factory=list, description="Finalizers.")
    owner_references: list[OwnerReference] = Field(default_factory=list, description="Owners.")


class LabelRequirement(ApiModel):
    """One requirement on a label."""

    key: Annotated[str, Field(min_length=1, max_length=316)] = Field(description="Key of the label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(
        description="How the label is compared: In and NotIn with `values`, Exists and DoesNotExist without."
    )
    values: Annotated[list[Text63], Field(max_length=64), LIST_ATOMIC] = Field(
        default_factory=list, description="Values for In and NotIn."
    )


class LabelSelector(ApiModel):
    """A label selector. `{}` selects everything."""

    ATOMIC = True

    match_labels: Annotated[dict[Annotated[str, Field(max_length=316)], Text63], Field(max_length=32)] = Field(
        default_factory=dict, description="Labels that an object must have with exactly these values."
    )
    match_expressions: Annotated[
        list[
            Annotated[
                LabelRequirement,
                check(
                    "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
                    "give values with operator In or NotIn, and none with Exists or DoesNotExist",
                    field_path=".values",
                ),
            ]
        ],
        Field(max_length=32),
        LIST_ATOMIC,
    ] = Field(default_factory=list, description="Requirements that an object must all meet.")


class RegionShare(ApiModel):
    """The share of traffic of one region."""

    region: RegionName = Field(description="Name of the Region.")
    weight_percent: Percent = Field(description="Share of the traffic in percent; the shares add up to 100.")


class Candidate(ApiModel):
    """Whether a region can take over, and why not."""

    region: RegionName = Field(description="Name of the Region.")
    eligible: bool = Field(description="Whether the region can take over now.")
    rank: Count | None = Field(default=None, description="Place in the order of preference; 1 is the best.")
    reasons: Annotated[list[Text256], Field(max_length=16), LIST_ATOMIC] = Field(
        default_factory=list, description="Everything that speaks against the region; empty when it is eligible."
    )
    lag: Text63 = Field(
        default="",
        description="How far the region's data is behind by promotion steps and Required replicationPolicyRefs, in "
        "steps: ≤1s, ≤10s, up to safety.maxReplicationLag, above it, or unknown. Empty: nothing counts for it.",
    )
