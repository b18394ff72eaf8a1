"""Runs the operator as processes beside a cluster, with the chart's arguments and the chart's ServiceAccount.

`process` is one replica, `replicas` the pair that the chart deploys, `chart` reads arguments and rights out of the
rendered chart, and `proxy` is a reverse proxy in front of the API server that can kill a replica between two writes, or
spoil writes and watches as `faults` says.
"""

from testbed.operator.chart import Installation, install
from testbed.operator.faults import Delivery, Faults, NoFaults, OneTrouble, Storm, Trouble, Write
from testbed.operator.process import OperatorError, OperatorProcess, Restart
from testbed.operator.proxy import Answer, ApiProxy, DropError, Hold, Moment
from testbed.operator.replicas import OperatorReplicas

__all__ = [
    "Answer",
    "ApiProxy",
    "Delivery",
    "DropError",
    "Faults",
    "Hold",
    "Installation",
    "Moment",
    "NoFaults",
    "OneTrouble",
    "OperatorError",
    "OperatorProcess",
    "OperatorReplicas",
    "Restart",
    "Storm",
    "Trouble",
    "Write",
    "install",
]
