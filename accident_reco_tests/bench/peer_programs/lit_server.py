"""LitServe: the model file behind its API, one worker. Run: python lit_server.py PORT MODEL"""

import sys

import litserve
import numpy as np
import onnxruntime


class Accidents(litserve.LitAPI):
    """Takes a matrix of features, returns margins."""

    def setup(self, device):
        """Open the model."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(sys.argv[2], options, providers=["CPUExecutionProvider"])

    def decode_request(self, request):
        """From JSON to an array."""
        return np.array(request["features"], dtype=np.float32)

    def predict(self, features):
        """Run the trees."""
        return self.session.run(None, {"features": features})[0]

    def encode_response(self, output):
        """From an array to JSON."""
        return {"margin": output.reshape(-1).tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Accidents(), accelerator="cpu", workers_per_device=1)
    quiet = {"generate_client_file": False, "log_level": "warning"}
    server.run(host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, **quiet)
