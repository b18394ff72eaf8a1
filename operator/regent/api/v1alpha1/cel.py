"""The CEL expressions and regular expressions that several kinds share.

Patterns are RE2 and go into CEL raw strings, so that a backslash is written once. What these accept is what the code
that reads the fields accepts; the tests on the API server and those of the parsers use the same examples.
"""

from __future__ import annotations

from regent.api.v1alpha1.base import Rule, Schema

DURATION = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"
DECIMAL = r"^-?[0-9]{1,9}(\.[0-9]{1,9})?$"
LABEL = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
HOSTNAME = r"^(\*\.)?[a-z0-9_]([-a-z0-9_]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\.?$"
HOST_HEADER = r"^[A-Za-z0-9._-]+(:[0-9]{1,5})?$|^\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?$"
HEADER_NAME = "^[A-Za-z0-9!#$%&*+.^_|~-]+$"
JSON_PATH = r"""^\$?(\.[A-Za-z_][A-Za-z0-9_-]*|\[[0-9]+\]|\["[^"]+"\])+$"""
JSON_POINTER = "^(/([^/~]|~0|~1)*)+$"
TIME_ZONE = "^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$"
STATUS_CODES = "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$"
WAIT_FOR = r"^condition=[A-Za-z][A-Za-z0-9./_-]*(=[A-Za-z]+)?$|^jsonpath=\{[.$][^{}]*\}(=.+)?$"
IDENTIFIER = "^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$"


def _cron_field(value: str) -> str:
    return rf"(\*|{value}(-{value})?)(/[0-9]{{1,3}})?(,(\*|{value}(-{value})?)(/[0-9]{{1,3}})?)*"


CRON = (
    "^"
    + " +".join(
        _cron_field(value)
        for value in (
            "[0-5]?[0-9]",
            "([01]?[0-9]|2[0-3])",
            "(0?[1-9]|[12][0-9]|3[01])",
            "(0?[1-9]|1[0-2]|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)",
            "([0-7]|SUN|MON|TUE|WED|THU|FRI|SAT)",
        )
    )
    + "$"
)


def matches(value: str, pattern: str) -> str:
    """Give the expression that a value matches a pattern."""
    quote = '"' if "'" in pattern else "'"
    return f"{value}.matches(r{quote}{pattern}{quote})"


def url(value: str, schemes: str = "https?") -> str:
    """Give the expression that a value is an absolute URL of these schemes with a host and without credentials."""
    return f"isURL({value}) && " + matches(value, f"^({schemes})://[^/?#@: ][^/?#@ ]*([/?#].*)?$")


def within(low: str, high: str) -> Schema:
    """Annotate a duration with its bounds."""
    return Schema(
        rules=(
            Rule(
                f"{matches('self', DURATION)} && duration(self) >= duration('{low}') && "
                f"duration(self) <= duration('{high}')",
                f"write a duration from {low} to {high}, such as 250ms, 2s or 1m30s",
            ),
        )
    )


def unset_or(expression: str) -> str:
    """Give the expression that accepts the empty string, which means unset, beside what another one accepts."""
    return f"self == '' || ({expression})"


def exactly_one(*names: str, owner: str = "self") -> str:
    """Give the expression that exactly one of these members of a union is set."""
    return "[" + ", ".join(f"has({owner}.{name})" for name in names) + "].filter(x, x).size() == 1"


def filled(value: str) -> str:
    """Give the expression that an optional string is set and not empty."""
    return f"(has({value}) && {value} != '')"


def name_rule(limit: int) -> Rule:
    """Give the root rule on the object's name, which becomes a label value and a part of other names."""
    return Rule(
        f"self.metadata.name.size() <= {limit} && {matches('self.metadata.name', LABEL)}",
        f"metadata.name: write lower-case letters, digits and '-', at most {limit} characters, "
        "with a letter or digit at both ends",
    )
