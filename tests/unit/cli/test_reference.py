"""The reference of the command line is that of the commands, and names each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from regent.cli.main import COMMANDS
from regent.cli.reference import reference

FILE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "cli.md"


@pytest.mark.parametrize("command", [*COMMANDS, "region list", "region show", "region health-check"])
def test_every_command_is_described(command: str) -> None:
    assert f"## `regent {command}`" in reference()


def test_the_stored_file_is_up_to_date() -> None:
    assert FILE.read_text(encoding="utf-8") == reference(), "run make generate"
