"""`python -m serving.drift`: the drift service as a process."""

import sys

from serving.common.run import serve

if __name__ == "__main__":
    sys.exit(serve("drift", "serving.drift.app:create_process_app", "drift_port"))
