"""Runs the operator as processes beside a cluster, with the chart's arguments and the chart's ServiceAccount.

`process` is one replica, `replicas` the pair that the chart deploys, `chart` reads arguments and rights out of the
rendered chart, and `proxy` is a reverse proxy in front of the API server that can kill a replica between two writes.
"""

from testbed.operator.chart import Installation, install
from testbed.operator.process import OperatorError, OperatorProcess, Restart
from testbed.operator.proxy import ApiProxy, DropError, Moment, Write
from testbed.operator.replicas import OperatorReplicas

__all__ = [
    "ApiProxy",
    "DropError",
    "Installation",
    "Moment",
    "OperatorError",
    "OperatorProcess",
    "OperatorReplicas",
    "Restart",
    "Write",
    "install",
]
