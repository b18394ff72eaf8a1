"""What all tests share: the fixtures of the local control plane, made only where a test asks for them."""

pytest_plugins = ["tests.cluster_fixtures"]
