"""Looks for weaknesses that others know of, in what is deployed: `make audit`.

    python -m infra.packaging.audit

cfn-lint and checkov read the packaged template, checkov the clusters' files too; pip-audit asks for
advisories about what ships. What they find fails. What could not be looked at does not, since not every
machine may install checkov or ask for advisories; it is said last, where it is seen.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from infra.local.config import REPO
from infra.packaging import package, stages

# Who is asked for advisories, one after the other until one answers.
SERVICES = ("pypi", "osv")
# checkov pins a hundred packages, so that these tools have a venv of their own.
_VENVS = {"cfn-lint": ".venv", "checkov": ".venv-audit", "pip-audit": ".venv-audit"}

Run = Callable[..., "subprocess.CompletedProcess[str]"]


class Outcome(Enum):
    """What came of a look."""

    CLEAN = "clean"
    FOUND = "FOUND"
    NOT_LOOKED_AT = "NOT LOOKED AT"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one tool's look, in words."""

    outcome: Outcome
    told: str = ""


class ToolMissing(RuntimeError):
    """A tool is not installed."""


def looked(run: Run, tool: str, *arguments: str) -> Result:
    """Of a tool that ends with something else than 0 when it finds anything, or cannot work."""
    done = run(tool, *arguments)
    return Result(Outcome.FOUND if done.returncode else Outcome.CLEAN, (done.stdout + done.stderr).strip())


def advisories(run: Run, requirements: Path) -> Result:
    """Of the first service that knows any of the packages. pip-audit ends with 0 where it knows none."""
    why = []
    for service in SERVICES:
        done = run(
            *("pip-audit", "--requirement", str(requirements), "--no-deps", "--disable-pip"),
            *("--vulnerability-service", service, "--timeout", "10"),
            *("--format", "json", "--progress-spinner", "off"),
        )
        try:
            result = judged(json.loads(done.stdout)["dependencies"])
        except ValueError:
            result = Result(
                Outcome.NOT_LOOKED_AT, (done.stderr.strip() or "it said nothing").splitlines()[-1]
            )
        if result.outcome is not Outcome.NOT_LOOKED_AT:
            return result
        why.append(f"{service}: {result.told}")
    return Result(Outcome.NOT_LOOKED_AT, "\n".join(["nobody could be asked for advisories", *why]))


def judged(dependencies: Sequence[Any]) -> Result:
    """Of what pip-audit says about each package: its advisories, or why it has not looked."""
    unknown = [one["name"] for one in dependencies if "vulns" not in one]
    found = [
        f"{one['name']} {one['version']}: {advisory['id']}, "
        f"fixed in {', '.join(advisory['fix_versions']) or 'no version yet'}"
        for one in dependencies
        for advisory in one.get("vulns", [])
    ]
    if found:
        return Result(Outcome.FOUND, "\n".join(found))
    if len(unknown) == len(dependencies):
        return Result(Outcome.NOT_LOOKED_AT, f"it knows none of {len(unknown)} packages")
    told = f"{len(dependencies) - len(unknown)} packages"
    return Result(Outcome.CLEAN, f"{told}; not known: {', '.join(unknown)}" if unknown else told)


def run_tool(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Raises ToolMissing."""
    found = REPO / _VENVS[tool] / "bin" / tool
    if not found.exists():
        raise ToolMissing(f"{found.relative_to(REPO)} is missing")
    return subprocess.run([found, *arguments], cwd=REPO, capture_output=True, text=True)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        template = package.build(stages.read("dev"), Path(folder, "dev"), measured=False).template
        folders = ("-d", str(template.parent), "-d", "infra/kubernetes")
        looks: dict[str, Callable[[], Result]] = {
            "cfn-lint": lambda: looked(run_tool, "cfn-lint", str(template)),
            "checkov": lambda: looked(run_tool, "checkov", "--config-file", ".checkov.yaml", *folders),
            "pip-audit": lambda: advisories(run_tool, REPO / "requirements.txt"),
        }
        results = {tool: _result(look) for tool, look in looks.items()}
    for tool, result in sorted(results.items(), key=lambda one: list(Outcome).index(one[1].outcome)):
        print(f"{tool}: {result.outcome.value}")
        print("".join(f"  {line}\n" for line in result.told.splitlines() if line), end="", flush=True)
    return any(result.outcome is Outcome.FOUND for result in results.values())


def _result(look: Callable[[], Result]) -> Result:
    try:
        return look()
    except ToolMissing as error:
        return Result(Outcome.NOT_LOOKED_AT, str(error))


if __name__ == "__main__":
    sys.exit(main())
