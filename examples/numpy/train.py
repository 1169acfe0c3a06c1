"""Softmax regression on generated data, with nothing but NumPy: for images that have no more than that.

Like examples/digits it prints as it goes, stops cleanly on SIGTERM with its state saved, and resumes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

EPOCHS = int(os.environ.get("EPOCHS", "20"))
EPOCH_SECONDS = float(os.environ.get("EPOCH_SECONDS", "0.2"))
CLASSES, FEATURES, SAMPLES = 4, 16, 4000
LEARNING_RATE = 0.5
TERMINATION_LOG = Path("/dev/termination-log")
STOPPED_BY_SIGTERM = 128 + signal.SIGTERM


def main() -> int:
    stop_requested = []
    signal.signal(signal.SIGTERM, lambda *_: stop_requested.append(True))
    points, labels = make_data()
    split = SAMPLES * 3 // 4
    first, weights = resume()
    loss, accuracy = evaluate(weights, points[split:], labels[split:])
    for epoch in range(first, EPOCHS + 1):
        if stop_requested:
            np.savez(checkpoint(), epoch=epoch, weights=weights)
            say(f"Told to stop: saved before epoch {epoch}")
            return STOPPED_BY_SIGTERM
        weights -= LEARNING_RATE * gradient(weights, points[:split], labels[:split])
        loss, accuracy = evaluate(weights, points[split:], labels[split:])
        say(f"Epoch {epoch}/{EPOCHS}, Loss: {loss:.4f}, Accuracy: {accuracy:.4f}")
        time.sleep(EPOCH_SECONDS)
    checkpoint().unlink(missing_ok=True)
    metrics = {"accuracy": round(accuracy, 4), "loss": round(loss, 4), "epochs": EPOCHS}
    if TERMINATION_LOG.exists():
        TERMINATION_LOG.write_text(json.dumps({"metrics": metrics}))
    say(f"Done: {json.dumps(metrics)}")
    return 0


def make_data() -> tuple[Any, Any]:
    """Four clouds of points, overlapping a little."""
    random = np.random.default_rng(7)
    centres = random.normal(size=(CLASSES, FEATURES))
    labels = random.integers(CLASSES, size=SAMPLES)
    points = centres[labels] + random.normal(scale=1.2, size=(SAMPLES, FEATURES))
    return np.hstack([points, np.ones((SAMPLES, 1))]), labels


def probabilities(weights: Any, points: Any) -> Any:
    scores = points @ weights
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def gradient(weights: Any, points: Any, labels: Any) -> Any:
    error = probabilities(weights, points)
    error[np.arange(len(labels)), labels] -= 1
    return points.T @ error / len(labels)


def evaluate(weights: Any, points: Any, labels: Any) -> tuple[float, float]:
    guess = probabilities(weights, points)
    loss = -np.log(guess[np.arange(len(labels)), labels] + 1e-12).mean()
    return float(loss), float((guess.argmax(axis=1) == labels).mean())


def resume() -> tuple[int, Any]:
    if checkpoint().exists():
        with np.load(checkpoint()) as saved:
            say(f"Resuming at epoch {int(saved['epoch'])}")
            return int(saved["epoch"]), saved["weights"]
    return 1, np.zeros((FEATURES + 1, CLASSES))


def checkpoint() -> Path:
    workspace = Path("/workspace")
    return (workspace if workspace.is_dir() else Path("/tmp")) / "numpy.checkpoint.npz"


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
