"""BentoML: the model file as a service with one worker. `BENCH_MODEL` names the file."""

import os

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Accidents:
    """Takes a matrix of features, returns margins."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"]
        )

    @bentoml.api
    def predict(self, features: list[list[float]]) -> list[float]:
        """Run the trees."""
        matrix = np.array(features, dtype=np.float32)
        return self.session.run(None, {"features": matrix})[0].reshape(-1).tolist()
