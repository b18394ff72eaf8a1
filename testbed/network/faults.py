"""What can be broken on the way to one namespace, with nftables inside it or with its link on the hub's side.

Each fault replaces an earlier one of the same kind on the same port, and `healed` takes all of them away. Delay is not
offered: it needs the kernel's netem, which many hosts lack; the simulated regions delay their answers themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Action(Enum):
    """What happens to a packet that a rule matches."""

    DROP = "drop"
    REFUSE = "refuse"
    LOSE = "lose"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One fault: `port` None means every packet, `source` None means from everybody."""

    action: Action
    port: int | None = None
    source: str | None = None
    percent: int = 100

    def statement(self) -> str:
        """The rule in nftables' words."""
        source = "" if self.source is None else f"ip saddr {self.source} "
        if self.action is Action.REFUSE:
            # Only TCP can be answered with a reset, which is what a closed port answers.
            port = "meta l4proto tcp" if self.port is None else f"tcp dport {self.port}"
            return f"{source}{port} reject with tcp reset"
        port = "" if self.port is None else f"tcp dport {self.port} "
        everything = self.action is Action.DROP or self.percent == 100  # nft refuses a comparison that always holds
        share = "" if everything else f"numgen random mod 100 < {self.percent} "
        return f'iifname != "lo" {source}{port}{share}drop'


@dataclass(slots=True)
class RuleSet:
    """The rules in force in one namespace."""

    rules: dict[tuple[Action, int | None, str | None], Rule] = field(default_factory=dict)

    def add(self, rule: Rule) -> None:
        self.rules[(rule.action, rule.port, rule.source)] = rule

    def clear(self) -> None:
        self.rules.clear()

    def statements(self) -> list[str]:
        """A transaction that brings the namespace to exactly these rules, whatever was in force before."""
        lines = ["add table inet fault", "delete table inet fault"]
        if self.rules:
            lines += ["add table inet fault", "add chain inet fault in { type filter hook input priority 0; }"]
            lines += [f"add rule inet fault in {rule.statement()}" for rule in self.rules.values()]
        return lines
