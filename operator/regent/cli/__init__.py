"""The command line: `main` is its root, each command stands in a module of its own."""
