"""`python -m serving.predict`: the predict service as a process."""

import sys

from serving.common.run import serve

if __name__ == "__main__":
    sys.exit(serve("predict", "serving.predict.app:create_process_app", "predict_port"))
