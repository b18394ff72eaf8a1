"""The custom resources of `regent.dev/v1alpha1` as models: one module for each kind."""

from regent.api.v1alpha1.base import API_VERSION, GROUP, VERSION, ApiModel, Resource
from regent.api.v1alpha1.common import Condition, ObjectMeta
from regent.api.v1alpha1.failover import Failover, FailoverSpec
from regent.api.v1alpha1.failover_status import FailoverStatus
from regent.api.v1alpha1.failoverpolicy import FailoverPolicy, FailoverPolicySpec
from regent.api.v1alpha1.failoverpolicy_status import FailoverPolicyStatus
from regent.api.v1alpha1.placementpolicy import PlacementPolicy, PlacementPolicySpec, PlacementPolicyStatus
from regent.api.v1alpha1.region import Region, RegionSpec
from regent.api.v1alpha1.region_status import RegionStatus
from regent.api.v1alpha1.replicationpolicy import ReplicationPolicy, ReplicationPolicySpec
from regent.api.v1alpha1.replicationpolicy_status import ReplicationPolicyStatus

__all__ = [
    "API_VERSION",
    "GROUP",
    "VERSION",
    "ApiModel",
    "Condition",
    "Failover",
    "FailoverPolicy",
    "FailoverPolicySpec",
    "FailoverPolicyStatus",
    "FailoverSpec",
    "FailoverStatus",
    "ObjectMeta",
    "PlacementPolicy",
    "PlacementPolicySpec",
    "PlacementPolicyStatus",
    "Region",
    "RegionSpec",
    "RegionStatus",
    "ReplicationPolicy",
    "ReplicationPolicySpec",
    "ReplicationPolicyStatus",
    "Resource",
]
