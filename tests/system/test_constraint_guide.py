"""The code of the guide to the constraint runs as it stands there."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine

GUIDE = Path("docs/how-to/constraint.md")


def code_of(section):
    text = GUIDE.read_text("utf-8")
    (part,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    (code,) = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    return code


def batches(count):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(64 * count, 20, generator=generator)
    labels = inputs[:, :3].argmax(1)
    return torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(inputs, labels), batch_size=64
    )


def test_plain_pytorch():
    torch.manual_seed(0)
    body, head = torch.nn.Linear(20, 64), torch.nn.Linear(64, 10)
    names = {
        "loader": batches(2),
        "body": body,
        "head": head,
        "cross_entropy": torch.nn.functional.cross_entropy,
        "optimizer": torch.optim.SGD([*body.parameters(), *head.parameters()], 0.1),
    }
    exec(code_of("PyTorch"), names)
    assert names["constraint"].queue.num_filled() == 128


def test_scikit_learn():
    rows, classes = load_wine(return_X_y=True)
    names = {"rows": rows, "classes": classes}
    exec(code_of("scikit-learn"), names)
    assert names["model"].score(rows, classes) > 0.95


@pytest.mark.filterwarnings("ignore")  # of Lightning's own, about workers and the like
def test_lightning_trains_saves_and_restores_the_queue(tmp_path):
    import pytorch_lightning as lightning

    from mvcn import SemanticCongruityLoss

    names = {
        "lightning": lightning,
        "torch": torch,
        "SemanticCongruityLoss": SemanticCongruityLoss,
    }
    code = code_of("Lightning") + (
        "\n    def configure_optimizers(self):\n"
        "        return torch.optim.SGD(self.parameters(), 0.1)\n"
    )
    exec(code, names)
    module = names["Classifier"]()
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, batches(6))
    assert module.constraint.queue.is_full()
    trainer.save_checkpoint(tmp_path / "kept.ckpt")
    again = names["Classifier"].load_from_checkpoint(tmp_path / "kept.ckpt")
    for name, value in module.constraint.state_dict().items():
        assert np.array_equal(value, again.constraint.state_dict()[name]), name
