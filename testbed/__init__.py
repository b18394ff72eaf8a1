"""What Regent's tests, demo and benchmarks run on: real programs on one machine, without a container engine.

`testbed.toolchain` builds the programs from Go modules once and caches them; `testbed.controlplane` runs
Kubernetes control planes from them. Nothing in here is shipped with the operator.
"""
