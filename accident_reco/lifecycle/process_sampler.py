"""Samples processor and memory of a training, as MLflow's own monitor does for a run that is active meanwhile.

The run of a training is created when it ends, so that no tracker is needed before; the samples travel with the bundle.
"""

from __future__ import annotations

import threading
from typing import Final

import psutil

from accident_reco.lifecycle.training_history import SYSTEM, Point, now

MAX_SAMPLES: Final = 200
_MEGABYTE: Final = 1e6


class ProcessSampler:
    """Samples processor and memory while its block runs, in a thread; `history` has the samples afterwards.

    The last sample is taken at the end, so that there is one of the shortest block. Where there would be more than
    `MAX_SAMPLES`, every second one is dropped and the interval (`seconds`) doubled.
    """

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds
        self._samples: list[tuple[int, dict[str, float]]] = []
        self._process = psutil.Process()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="process-sampler", daemon=True)

    def __enter__(self) -> ProcessSampler:
        self._process.cpu_percent()  # the first call only starts the interval of the next one
        psutil.cpu_percent()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        self._sample()

    @property
    def history(self) -> dict[str, list[Point]]:
        """`system/…` → values; the names of the machine's are MLflow's own."""
        names = self._samples[0][1] if self._samples else {}
        return {
            f"{SYSTEM}{name}": [(step, values[name], when) for step, (when, values) in enumerate(self._samples, 1)]
            for name in names
        }

    def _run(self) -> None:
        while not self._ended.wait(self.seconds):
            self._sample()
            if len(self._samples) >= MAX_SAMPLES:
                del self._samples[1::2]
                self.seconds *= 2

    def _sample(self) -> None:
        memory = psutil.virtual_memory()
        values = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / _MEGABYTE,
            "process_cpu_percentage": self._process.cpu_percent(),
            "process_memory_megabytes": self._process.memory_info().rss / _MEGABYTE,
        }
        self._samples.append((now(), {name: round(value, 1) for name, value in values.items()}))
