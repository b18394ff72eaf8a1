"""`python -m regent`: the same as the `regent` command."""

from __future__ import annotations

from regent.cli.main import main

if __name__ == "__main__":
    main(prog_name="regent")
