"""`python -m tests.e2e.crash.report`: what the last whole run of the crash tests found, as a table."""

from __future__ import annotations

import json

from tests.e2e.crash.plan import REPORTS


def main() -> None:
    """Print one line for each kind of run, and the slowest recovery."""
    print("run                     boundaries  played  missed  failed  undisturbed  median more  slowest more   at")
    for path in sorted(REPORTS.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = sorted((row for row in found["rows"] if row.get("hit")), key=lambda row: float(row["more"]))
        missed = sum(1 for row in found["rows"] if row.get("hit") is False)
        counts = f"{len(found['boundaries']):>10}  {len(found['rows']):>6}  {missed:>6}  {len(found['failures']):>6}"
        figures = f"{found['undisturbed']:>9.1f} s"
        if rows:
            middle, slowest = rows[len(rows) // 2], rows[-1]
            figures += f"  {middle['more']:>9.1f} s  {slowest['more']:>10.1f} s   {slowest['boundary']}"
        print(f"{found['name']:<22}  {counts}  {figures}")


if __name__ == "__main__":
    main()
