"""A classifier that is an ONNX file, run by onnxruntime."""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mvcn.encoders.tokens import some_word
from mvcn.errors import RunError
from mvcn.files import require_allowed
from mvcn.inference.onnx_graph import OUTPUT, require_onnx
from mvcn.models.configuration import MvcnConfig
from mvcn.models.network import MvcnOutput

Backend = Literal["torch", "onnx", "onnx-int8"]
FILES: dict[Backend, str] = {"onnx": "model.onnx", "onnx-int8": "model-int8.onnx"}
"""Where in a run folder the graph of each backend is."""
TYPES = {"tensor(int64)": torch.int64, "tensor(bool)": torch.bool, "tensor(float)": torch.float32}


class OnnxModel:
    """A graph with the signature of the model that it was made from, as far as prediction needs it.

    Args:
        folder: A run folder.
        path: The graph.

    Raises:
        ConfigError: onnxruntime is not installed.
        RunError: The file is damaged, or may not be read.
    """

    device = torch.device("cpu")

    def __init__(self, folder: Path, path: Path) -> None:
        require_onnx()
        import onnxruntime

        require_allowed(path, RunError)

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # decision 0030
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a class of its own for each kind of damage
            raise RunError(f"{path} is damaged: write it again by mvcn export.") from error
        self.config: MvcnConfig = MvcnConfig.from_pretrained(folder)
        self._inputs = self._session.get_inputs()

    @classmethod
    def of_run(cls, folder: Path, backend: Backend) -> "OnnxModel":
        """Load the file that `mvcn export` has put into a run folder.

        Raises:
            ConfigError: onnxruntime is not installed.
            RunError: The file is not there, or damaged.
        """
        path = folder / FILES[backend]
        if not path.is_file():
            quantize = " --quantize int8" if backend == "onnx-int8" else ""
            raise RunError(f"There is no {path}: make it by mvcn export {folder}{quantize}.")
        return cls(folder, path)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the logits."""
        return tuple(self.config.id2label[index] for index in range(self.config.num_labels))

    def reads_text_of(self, length: int) -> bool:
        """Tell whether texts of so many word pieces can be read."""
        free_axes = {"batch": 1, "token": length}
        post = {
            entry.name: torch.ones(
                [free_axes.get(axis, axis) for axis in entry.shape], dtype=TYPES[entry.type]
            )
            for entry in self._inputs
        }
        if "input_ids" in post:
            post["input_ids"].fill_(some_word(self.config.text_config))
        try:
            self(**post)
        except Exception:  # onnxruntime has a class of its own for each operator that fails
            return False
        return True

    def __call__(self, **inputs: Tensor) -> MvcnOutput:
        """Classify posts; inputs as those of `MvcnForClassification.forward`."""
        feed = {entry.name: inputs[entry.name].numpy() for entry in self._inputs}
        (logits,) = self._session.run([OUTPUT], feed)
        return MvcnOutput(torch.from_numpy(logits))
