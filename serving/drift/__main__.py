"""`python -m serving.drift`: the drift service as a process."""

import sys

from serving.common.run import run_program

if __name__ == "__main__":
    sys.exit(run_program("drift"))
