"""The one error of the toolchain: a sentence that says what is wrong and what to do."""


class ToolchainError(RuntimeError):
    """A program cannot be had; the message says why and what to do about it."""
