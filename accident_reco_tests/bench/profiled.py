"""The predict service under cProfile: the first SIGUSR1 starts it, the second writes it to `BENCH_PROFILE`."""

import cProfile
import os
import runpy
import signal
from pathlib import Path

if __name__ == "__main__":
    path, profile, is_on = Path(os.environ["BENCH_PROFILE"]), cProfile.Profile(), False

    def toggle(*_: object) -> None:
        """Start, or stop and write a complete file."""
        global is_on
        if not is_on:
            is_on = True
            profile.enable()
            return
        profile.disable()
        part = path.with_suffix(".part")
        profile.dump_stats(part)
        part.replace(path)

    signal.signal(signal.SIGUSR1, toggle)
    runpy.run_module("serving.predict", run_name="__main__")
