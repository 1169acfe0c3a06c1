"""What a function is told about its time is what its deployment says."""

from __future__ import annotations

import json
from pathlib import Path

from infra.local.functions import timeout_seconds


def test_a_function_has_its_own_timeout_or_that_of_all(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    own = {"lambda_functions": {"sync": {"lambda_timeout": 75}, "recount": {"lambda_memory_size": 512}}}
    file.write_text(json.dumps({"lambda_timeout": 29, "stages": {"dev": own}}))
    assert [timeout_seconds(name, file) for name in ("sync", "recount", "unheard of")] == [75, 29, 29]


def test_the_real_file_gives_the_sync_longer_than_the_minute_between_two_of_its_calls() -> None:
    assert timeout_seconds("sync") > 60
