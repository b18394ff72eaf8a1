"""`regent region`: what is listed, what a screen says, what a check ends with."""

from __future__ import annotations

import json

import pytest
import yaml

from regent.cli.probes import CheckOutcome
from regent.domain.errors import ForbiddenError, UnavailableError
from regent.domain.health.model import HttpCheck, Outcome, ProbeResult, ProbeRole, ProbeSpec, TlsOptions
from regent.engine.resources import FAILOVER_POLICIES
from tests.fakes.cli import CommandLine, put_shop, region


@pytest.fixture
def shop() -> CommandLine:
    command_line = CommandLine()
    put_shop(command_line)
    return command_line


def names(output: str) -> list[str]:
    return [line.split()[0] for line in output.splitlines()[1:]]


def test_list_has_the_printer_columns(shop: CommandLine) -> None:
    lines = shop.read("region", "list").splitlines()
    assert lines[0].split() == ["NAME", "TIER", "STATE", "HEALTH", "LATENCY", "FREE", "ENDPOINT", "AGE"]
    assert lines[1].split() == [
        "eu-central-1",
        "Secondary",
        "Enabled",
        "Healthy",
        "10",
        "ms",
        "-",
        "https://eu-central-1.example.com",
        "120m",
    ]


def test_list_wide_says_why(shop: CommandLine) -> None:
    assert "web: connection refused" in shop.read("region", "list", "--wide")
    assert "web: connection refused" not in shop.read("region", "list")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--health", "unreachable"], ["eu-west-1"]),
        (["--health", "Degraded", "--health", "Healthy"], ["eu-central-1", "us-east-1"]),
        (["--tier", "primary"], ["eu-west-1"]),
        (["--healthy-only"], ["eu-central-1"]),
        (["--healthy-only", "--health", "healthy"], ["eu-central-1"]),
    ],
)
def test_list_filters(shop: CommandLine, arguments: list[str], expected: list[str]) -> None:
    assert names(shop.read("region", "list", *arguments)) == expected


def test_list_refuses_contradicting_filters(shop: CommandLine) -> None:
    result = shop.run("region", "list", "--healthy-only", "--health", "Degraded")
    assert result.exit_code == 2
    assert "not both" in result.output


def test_list_of_nothing_says_so(shop: CommandLine) -> None:
    assert "No regions match" in shop.read("region", "list", "--health", "Recovering")
    assert "create one" in CommandLine().read("region", "list")


@pytest.mark.parametrize(("output", "parse"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_list_for_programs(shop: CommandLine, output: str, parse) -> None:  # type: ignore[no-untyped-def]
    document = parse(shop.read("region", "list", "--format", output, "--healthy-only"))
    assert document["kind"] == "List"
    assert [item["metadata"]["name"] for item in document["items"]] == ["eu-central-1"]
    assert "managedFields" not in document["items"][0]["metadata"]


def test_options_may_stand_before_the_command(shop: CommandLine) -> None:
    before = shop.read("-o", "json", "--context", "eu", "region", "list")
    assert shop.options is not None
    assert shop.options.context == "eu"
    assert before == shop.read("region", "list", "-o", "json", "--context", "eu")


def test_the_inner_option_wins(shop: CommandLine) -> None:
    assert shop.read("-o", "json", "region", "list", "-o", "table").startswith("NAME")


def test_show_fits_what_one_needs_on_a_screen(shop: CommandLine) -> None:
    screen = shop.read("region", "show", "eu-central-1")
    for text in ("Healthy", "10 ms", "shop/shop", "operator", "http /healthz", "Reachable", "60s ago"):
        assert text in screen
    assert "eu-west-1" not in screen


def test_show_says_when_policies_may_not_be_listed(shop: CommandLine) -> None:
    shop.cluster.fail("list", ForbiddenError("no", status=403), resource=FAILOVER_POLICIES)
    assert "you may not list FailoverPolicies" in shop.read("region", "show", "eu-central-1")


def test_show_of_a_region_that_does_not_exist(shop: CommandLine) -> None:
    result = shop.run("region", "show", "mars")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert len(result.output.splitlines()) == 1


def test_an_api_server_that_is_away_is_one_line(shop: CommandLine) -> None:
    shop.cluster.fail("list", UnavailableError("list Region: no answer in time"))
    result = shop.run("region", "list")
    assert (result.exit_code, result.output) == (1, "Error: list Region: no answer in time\n")


def test_text_of_an_endpoint_cannot_move_the_cursor(shop: CommandLine) -> None:
    from regent.engine.resources import REGIONS

    shop.cluster.put(REGIONS, region("evil", "Unreachable", message="\x1b[2Jgone"))
    for arguments in (["region", "list", "--wide"], ["region", "show", "evil"], ["status"]):
        assert "\x1b" not in shop.read(*arguments)


def outcome(name: str, result: Outcome, role: ProbeRole = ProbeRole.REQUIRED, *, tls: bool = False) -> CheckOutcome:
    spec = ProbeSpec(
        region="eu-west-1",
        name=name,
        host="2001:db8::1" if tls else "eu.example.com",
        port=443,
        check=HttpCheck(path="/healthz"),
        tls=TlsOptions() if tls else None,
        role=role,
    )
    return CheckOutcome(
        spec, ProbeResult(outcome=result, latency=0.0123, detail="" if result is Outcome.SUCCESS else "RST")
    )


@pytest.mark.parametrize(
    ("outcomes", "exit_code"),
    [
        ([outcome("web", Outcome.SUCCESS)], 0),
        ([outcome("web", Outcome.REFUSED)], 1),
        ([outcome("web", Outcome.TIMEOUT)], 1),
        ([outcome("web", Outcome.NOT_RUN)], 1),
        ([outcome("web", Outcome.SUCCESS), outcome("extra", Outcome.REFUSED, ProbeRole.INFORMATIONAL)], 0),
        ([], 0),
    ],
)
def test_health_check_ends_with_its_verdict(shop: CommandLine, outcomes: list[CheckOutcome], exit_code: int) -> None:
    shop.outcomes = outcomes
    assert shop.run("region", "health-check", "eu-west-1").exit_code == exit_code
    document = json.loads(shop.run("region", "health-check", "eu-west-1", "-o", "json").output)
    assert document["result"] == ("Failed" if exit_code else "Passed")


def test_health_check_says_where_it_looked_from_and_what_it_found(shop: CommandLine) -> None:
    shop.outcomes = [outcome("web", Outcome.SUCCESS, tls=True), outcome("api", Outcome.REFUSED)]
    output = shop.run("region", "health-check", "eu-west-1").output
    assert "from this machine" in output.splitlines()[0]
    assert "https://[2001:db8::1]:443/healthz" in output
    assert output.splitlines()[3].split() == [
        "api",
        "Required",
        "http://eu.example.com:443/healthz",
        "Refused",
        "12.3",
        "ms",
        "RST",
    ]


def test_health_check_of_a_region_that_does_not_exist(shop: CommandLine) -> None:
    assert shop.run("region", "health-check", "mars").exit_code == 1
