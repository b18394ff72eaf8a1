"""Writes what is generated from the models.

`python -m regent.api.v1alpha1.generate crds DIRECTORY` writes the definitions, `… reference FILE` the documentation.

`make generate` runs it on the repository, `make verify` on an empty directory to compare.
"""

from __future__ import annotations

import sys
from pathlib import Path

from regent.api.v1alpha1.reference import reference
from regent.api.v1alpha1.schema import custom_resource_definitions, to_yaml

_HEADER = "# Generated from operator/regent/api/v1alpha1 by `make generate`; edit the models instead.\n"


def write_crds(directory: Path) -> None:
    """Write one file for each custom resource definition."""
    directory.mkdir(parents=True, exist_ok=True)
    for crd in custom_resource_definitions():
        (directory / f"{crd['metadata']['name']}.yaml").write_text(_HEADER + to_yaml(crd), encoding="utf-8")


def write_reference(file: Path) -> None:
    """Write the reference of the API."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(reference(), encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Run the generator that the first argument names; give the exit code."""
    match arguments:
        case ["crds", directory]:
            write_crds(Path(directory))
        case ["reference", file]:
            write_reference(Path(file))
        case _:
            sys.stderr.write("usage: python -m regent.api.v1alpha1.generate (crds DIRECTORY | reference FILE)\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
