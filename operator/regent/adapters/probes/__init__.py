"""Adapters of the `Prober` port: HTTP/1.1, TCP and gRPC health probes. `prober` is the way in."""
