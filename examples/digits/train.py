"""Trains a small neural network on scikit-learn's handwritten digits, an epoch at a time.

It does what a long training job should: prints as it goes, saves its state when it is told to stop (SIGTERM),
goes on from there when it is started again, and leaves its result where Trainyard finds it.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

EPOCHS = int(os.environ.get("EPOCHS", "20"))
EPOCH_SECONDS = float(
    os.environ.get("EPOCH_SECONDS", "0.2")
)  # an epoch here takes milliseconds: slowed to watch
BATCH = 32
WORKSPACE = Path("/workspace")
TERMINATION_LOG = Path("/dev/termination-log")
STOPPED_BY_SIGTERM = 128 + signal.SIGTERM


def main() -> int:
    stop_requested = []
    signal.signal(signal.SIGTERM, lambda *_: stop_requested.append(True))
    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(images / 16, labels, test_size=0.25, random_state=7)
    first, model = resume()
    say(f"{len(train_x)} images to learn from, {len(test_x)} to test on, epochs {first} to {EPOCHS}")
    loss, accuracy = evaluate(model, test_x, test_y) if first > 1 else (0.0, 0.0)
    for epoch in range(first, EPOCHS + 1):
        if stop_requested:
            save(epoch, model)
            say(f"Told to stop: saved before epoch {epoch}")
            return STOPPED_BY_SIGTERM
        train_one_epoch(model, train_x, train_y, seed=epoch)
        loss, accuracy = evaluate(model, test_x, test_y)
        say(f"Epoch {epoch}/{EPOCHS}, Loss: {loss:.4f}, Accuracy: {accuracy:.4f}")
        time.sleep(EPOCH_SECONDS)
    checkpoint().unlink(missing_ok=True)
    report({"accuracy": round(accuracy, 4), "loss": round(loss, 4), "epochs": EPOCHS})
    return 0


def train_one_epoch(model: MLPClassifier, images: Any, labels: Any, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(images))
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        model.partial_fit(images[batch], labels[batch], classes=np.arange(10))


def evaluate(model: MLPClassifier, images: Any, labels: Any) -> tuple[float, float]:
    return float(log_loss(labels, model.predict_proba(images))), float(model.score(images, labels))


def resume() -> tuple[int, MLPClassifier]:
    """The epoch to begin with and the model as it was."""
    if checkpoint().exists():
        epoch, model = pickle.loads(checkpoint().read_bytes())
        say(f"Resuming at epoch {epoch}")
        return epoch, model
    return 1, MLPClassifier(hidden_layer_sizes=(64,), learning_rate_init=0.002, random_state=7)


def save(epoch: int, model: MLPClassifier) -> None:
    temporary = checkpoint().with_suffix(".tmp")
    temporary.write_bytes(pickle.dumps((epoch, model)))
    temporary.replace(checkpoint())


def checkpoint() -> Path:
    """In the workspace, which outlives the job; without one, beside this script."""
    folder = WORKSPACE if WORKSPACE.is_dir() else Path(__file__).parent
    return folder / "digits.checkpoint"


def report(metrics: dict[str, float]) -> None:
    if TERMINATION_LOG.exists():
        TERMINATION_LOG.write_text(json.dumps({"metrics": metrics}))
    say(f"Done: {json.dumps(metrics)}")


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
