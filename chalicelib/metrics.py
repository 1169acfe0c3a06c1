"""Metrics as lines of the log, which CloudWatch reads: a metric costs no call and holds nothing up.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from chalicelib.domain.repair import Repaired

NAMESPACE = "Trainyard"


class RepairMeter:
    """services.ports.Meter: a line a repair. `out` None: standard output, which Lambda ships as it is."""

    def __init__(self, instance: str, out: TextIO | None = None) -> None:
        self._instance = instance
        self._out = out

    def __call__(self, repaired: Repaired) -> None:
        out = self._out or sys.stdout
        out.write(json.dumps(self._line(repaired)) + "\n")  # in one piece: other threads write too
        out.flush()

    def _line(self, repaired: Repaired) -> dict[str, Any]:
        directive = {
            "Namespace": NAMESPACE,
            "Dimensions": [["Instance"], ["Instance", "Kind"]],
            "Metrics": [{"Name": "Repairs", "Unit": "Count"}],
        }
        return {
            "_aws": {"Timestamp": int(repaired.at.timestamp() * 1000), "CloudWatchMetrics": [directive]},
            "Instance": self._instance,
            "Kind": repaired.kind,
            "Repairs": 1,
            "repaired": repaired.detail,
        }
