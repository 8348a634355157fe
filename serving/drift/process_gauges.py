"""The supervised processes of the platform as Prometheus gauges, from the file that their launcher writes.

None where an orchestrator starts the services: it has its own metrics of restarts.
"""

from __future__ import annotations

from pathlib import Path

from prometheus_client import Gauge

from accident_reco.storage.process_states import LAUNCHERS, read_states
from serving.common.metrics import Metrics


class ProcessGauges:
    """Gauges per process. All workers set the same values; `/metrics` shows the most recent one."""

    def __init__(self, metrics: Metrics, home: Path) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return metrics.gauge(name, text, ("process",), across="livemostrecent")

        self._restarts = gauge(
            "platform_process_restarts", "Restarts after unexpected ends, since the platform's start"
        )
        self._given_up = gauge("platform_process_given_up", "1 if a process ended too often and stays ended")
        self._home = home

    def refresh(self) -> None:
        """Set the gauges from the recorded states."""
        for launcher in LAUNCHERS:
            for state in read_states(self._home, launcher):
                self._restarts.labels(state.name).set(state.restarts)
                self._given_up.labels(state.name).set(state.state == "given up")
