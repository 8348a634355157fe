"""`python -m serving.predict`: the predict service as a process."""

import sys

from serving.common.run import run_program

if __name__ == "__main__":
    sys.exit(run_program("predict"))
