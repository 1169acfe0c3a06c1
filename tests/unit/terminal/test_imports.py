"""What a relay loads that nobody has used yet."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("boto3", "botocore", "chalice", "kubernetes", "pydantic")


def test_a_relay_that_waits_for_its_first_ticket_loads_neither_schemas_nor_vendors() -> None:
    script = f"import sys, infra.terminal.__main__; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
