"""The root of the command line: commands that load when they are used, options that may stand anywhere, exit codes.

`regent --context eu region list` and `regent region list --context eu` are the same: what was given to an outer
command is the default of the inner one. Importing the whole operator to print a table would cost half a second, so a
command's module is imported when the command is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click
from click.core import ParameterSource

from regent.cli.permissions import missing_permission
from regent.domain.errors import ForbiddenError, LeadershipLostError, RegentError, SettingsError

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_LEADERSHIP_LOST = 3

INHERITED = frozenset({"kubeconfig", "context", "namespace", "output"})
"""Options that an inner command takes from an outer one."""

_GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)


class InheritingContext(click.Context):
    """A context whose defaults are what the outer commands were given."""

    def __init__(self, command: click.Command, parent: click.Context | None = None, **extra: Any) -> None:
        super().__init__(command, parent=parent, **extra)
        if parent is not None:
            # A group in between, such as `region`, has none of these options itself and only hands them on.
            handed_on = {name: value for name, value in (parent.default_map or {}).items() if name in INHERITED}
            given = {name: parent.params[name] for name in INHERITED if _was_given(parent, name)}
            self.default_map = {**handed_on, **given, **(self.default_map or {})}


def _was_given(context: click.Context, name: str) -> bool:
    return name in context.params and context.get_parameter_source(name) in _GIVEN


class Failure(click.ClickException):
    """An error that ends the command with one line and exit code 1."""

    exit_code = EXIT_FAILURE


class WrongSettings(Failure):
    """Settings or a kubeconfig that cannot be used: exit code 2."""

    exit_code = EXIT_USAGE


class LostLeadership(Failure):
    """Another replica leads now: exit code 3."""

    exit_code = EXIT_LEADERSHIP_LOST


class RootGroup(click.Group):
    """A group that imports its commands when they are used and turns Regent's errors into exit codes."""

    context_class = InheritingContext

    def __init__(self, *args: Any, lazy: Mapping[str, str], **extra: Any) -> None:
        """Take `lazy`, the place of each command as `module:attribute`."""
        super().__init__(*args, **extra)
        self._lazy = dict(lazy)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order in which they were declared."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None when there is none of that name."""
        place = self._lazy.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{place} is no command")
        _inherit(command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error that Regent raises on purpose becomes a line and an exit code."""
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            raise WrongSettings(str(error)) from error
        except LeadershipLostError as error:
            raise LostLeadership(str(error)) from error
        except ForbiddenError as error:
            raise Failure(missing_permission(str(error))) from error
        except RegentError as error:
            raise Failure(str(error)) from error


def _inherit(command: click.Command) -> None:
    command.context_class = InheritingContext
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _inherit(inner)
