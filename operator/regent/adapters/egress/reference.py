"""Writes docs/reference/receivers.md and its JSON schema from the models of `messages`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from regent.adapters.egress.messages import (
    DistributionMessage,
    Event,
    EventData,
    Message,
    PromotionRequest,
    Refusal,
    RoleAnswer,
    SyncAnswer,
)

MODELS: tuple[type[Message], ...] = (
    Event,
    EventData,
    PromotionRequest,
    RoleAnswer,
    SyncAnswer,
    Refusal,
    DistributionMessage,
)

_INTRODUCTION = """# Receivers: what Regent posts to your endpoints

Hooks, notifications, promotion steps of type HTTP and webhook targets are POST requests with a JSON body to a URL of
yours. This page is generated from the models by `make generate`; `receivers.schema.json` beside it holds the same
models as a JSON schema.

## Every request

- http or https; certificates are verified, redirects are not followed, proxies are not used. Loopback, link-local and
  metadata addresses are refused (setting `egress.allowLoopback`).
- At most 64 KiB of an answer are read. 2xx is a yes; 408, 425, 429, 500, 502, 503, 504 and no answer mean "later";
  everything else is a no. `Retry-After` in seconds is heeded.
- `webhook-id` identifies the message and stays the same when it is sent again: keep the ones that you have seen for a
  while, and answer a repeated one as before, without acting on it again.
- With a `secretRef` the request is signed as [Standard Webhooks](https://www.standardwebhooks.com) 1.0.0: the key
  `key` of the Secret is `whsec_` and base64, or 24 to 64 bytes as they are. Several `whsec_` keys with white space
  between them, newest first, sign side by side while you change keys. A changed Secret counts after 10 s.
- Regent reads the Secret in the policy's namespace with its own account: add the namespace to the setting
  `secretNamespaces`, or bind a Role that may `get` this one Secret to Regent's account. Where it may not, the policy
  shows `Ready=False/SecretForbidden`.

Verifying a request takes a library of Standard Webhooks, or these lines:

```python
import base64, hashlib, hmac, time


def verify(headers, body, key):  # header names in lower case, the raw body, the key as bytes
    if abs(time.time() - int(headers["webhook-timestamp"])) > 300:
        return False
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    given = headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(f"v1,{expected}", each) for each in given)
```
"""

_EVENTS = """## Hooks and notifications

Both are CloudEvents 1.0 in structured mode (`content-type: application/cloudevents+json`), so that the signature covers
all of the event.

A **hook** (`hooks.beforeFailover`, type `dev.regent.failover.before`) is asked before a run commits, while nothing has
been changed. 2xx lets the run go on. With `onError: Abort` everything else, and no answer within the hook's `timeout`,
is a veto: the run is `Blocked` with reason `VetoedByHook` and your words (`message` of a JSON answer, or its text), and
the hook is asked again every 10 s, each time as a new message. With `onError: Continue` the run goes on and your words
stand in `status.hooks`. Hooks are called in order, none after a veto, and have 60 s together. A hook stands only in the
way of its own run: an automatic failover does not wait for a switchover that somebody's hook holds.

A **notification** tells what has happened: `started` (a run has committed), `blocked` (a rule or a hook stands in the
way), `action-required` (a person is needed), `completed` (a run has ended, whatever its phase). Events of a policy
reach a receiver in order and at least once: after a change of leader the events of the last ten minutes may come
again with the same `id`. What cannot be delivered for ten minutes, or is answered with a no, is lost; that is counted
(`regent_notifications_total{result="lost"}`) and shown as an event of the policy. Notifications never delay a run.
"""

_PROMOTION = """## Promotion steps of type HTTP

One URL answers for all regions of the step. `observe` is called often and must change nothing; the others are answered
as soon as the change has been asked for. Every action but `observe` and `sync` carries the fence: refuse a smaller one
than you have seen with 409. A receiver without a `restore` of its own answers it with 501 and is asked to promote or
demote instead; one without data answers `sync` with 501. A repeated request after a lost answer, also from the next
leader, has the same `webhook-id`; a new attempt has a new epoch and a new `webhook-id`.

`http.data` of the step says whether two active sides would diverge. Held, as for a database: a run demotes the old
side, waits until `sync` says that the new side has everything, and only then promotes; a side that cannot be demoted is
treated as `safety.fencing` says. Give `lagSeconds` for a standby then: a lag that is not known is over
`safety.maxReplicationLag`, and such a region is no candidate. None (the default): the new side is promoted first, then
traffic moves, then the old side is demoted, and `sync` is not asked.

An answer to `observe` that is not exactly this counts as role Unknown: nothing is concluded from it.
"""


_WEBHOOK = """## Webhook targets

A target of kind webhook is told the distribution whenever it changes, and once more after a restart or a change of
leader. 2xx acknowledges it. A receiver that refuses or is away is told again, with pauses of up to a minute; the
target shows that in `status.targets`, and the run goes on with its other targets.
"""


def schema() -> dict[str, Any]:
    """Return the JSON schema of all messages, one definition each."""
    _, found = models_json_schema([(model, "validation") for model in MODELS], by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Messages between Regent and receivers",
        "$defs": dict(sorted(found["$defs"].items())),
    }


def reference() -> str:
    """Return the page."""
    definitions = schema()["$defs"]
    parts = [_INTRODUCTION, _EVENTS]
    parts += [_table(definitions, "Event"), _table(definitions, "EventData"), _PROMOTION]
    parts += [_table(definitions, name) for name in ("PromotionRequest", "RoleAnswer", "SyncAnswer", "Refusal")]
    return "\n".join([*parts, _WEBHOOK, _table(definitions, "DistributionMessage")])


def _table(definitions: dict[str, Any], name: str) -> str:
    node = definitions[name]
    lines = [
        f"### {name}",
        "",
        " ".join(node["description"].split()),
        "",
        "| field | type | meaning |",
        "|---|---|---|",
    ]
    required = node.get("required", [])
    for key, child in node["properties"].items():
        shown = f"**`{key}`**" if key in required else f"`{key}`"
        text = str(child.get("description", "")).replace("|", "\\|")
        lines.append(f"| {shown} | {', '.join(dict.fromkeys(_types(definitions, child)))} | {text} |")
    return "\n".join([*lines, ""])


def _types(definitions: dict[str, Any], node: dict[str, Any]) -> Iterator[str]:
    for option in node.get("anyOf", [node]):
        if option.get("type") == "null":
            continue
        if "$ref" in option:
            target = option["$ref"].rpartition("/")[2]
            fields = ", ".join(definitions[target]["properties"])
            yield "[EventData](#eventdata)" if target == "EventData" else f"object ({fields})"
        elif "enum" in option or "const" in option:
            yield ", ".join(f"`{value}`" for value in option.get("enum", [option.get("const")]))
        elif option.get("type") == "array":
            yield f"list of {next(_types(definitions, option['items']))}"
        else:
            yield str(option.get("type", "any"))


def main(root: str) -> None:
    """Write both files below `root`."""
    folder = Path(root)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "receivers.md").write_text(reference(), encoding="utf-8")
    text = json.dumps(schema(), indent=2, ensure_ascii=False)
    (folder / "receivers.schema.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
