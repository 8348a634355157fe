"""`python -m serving.console`: the console as a process."""

import sys

from serving.common.run import serve

if __name__ == "__main__":
    sys.exit(serve("console", "serving.console.app:create_process_app", "console_port"))
