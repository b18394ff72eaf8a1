"""Where the testbed keeps what outlives a run: `REGENT_CACHE`, else the user's cache directory."""

import os
from pathlib import Path


def cache_root() -> Path:
    """Directory of everything that the testbed keeps, made if it is not there.

    `REGENT_CACHE` comes first, then `XDG_CACHE_HOME`, then `~/.cache`; `regent` is appended in each case.
    """
    base = os.environ.get("REGENT_CACHE") or os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    root = Path(base).expanduser().absolute() / "regent"
    root.mkdir(parents=True, exist_ok=True)
    return root
