"""The running parts: they gather, decide through the domain, and act through ports."""
