"""MLServer: a custom runtime for the model file, as its guide builds one."""

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxRuntime(MLModel):
    """Takes a tensor of features, returns margins."""

    async def load(self) -> bool:
        """Open the model."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            self.settings.parameters.uri, options, providers=["CPUExecutionProvider"]
        )
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run the trees."""
        features = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32)
        margin = self._session.run(None, {"features": features})[0]
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output(name="margin", payload=margin.reshape(-1, 1))]
        )
