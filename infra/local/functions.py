"""What .chalice/config.json says about a function that the embedded stack calls."""

from __future__ import annotations

import json
from pathlib import Path

from infra.local.config import REPO

FILE = REPO / ".chalice" / "config.json"
STAGE = "dev"


def timeout_seconds(function: str, file: Path = FILE) -> float:
    """How long the function may take, which in AWS is enforced and here only told to it."""
    settings = json.loads(file.read_text())
    own = settings["stages"][STAGE].get("lambda_functions", {}).get(function, {})
    return float(own.get("lambda_timeout", settings["lambda_timeout"]))
