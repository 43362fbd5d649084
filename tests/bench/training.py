"""What a training script of ordinary size does at its end: it saves a small fitted model.

A save takes along the code of the script that calls it, so a script this is, and not the
benchmark itself.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

import modelversion as mv


class Fitted:
    """A small fitted model with other content at each call."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        features = random.normal(size=(200, 10))
        self.model = LogisticRegression().fit(features, features[:, 0] > 0)
        self.count = 0

    def next(self) -> LogisticRegression:
        self.count += 1
        self.model.coef_[0, 0] = self.count
        return self.model


def by_hand(folder: Path, fitted: Fitted) -> None:
    """Pickle a model and its metrics into a fresh folder and sync both files."""
    model = fitted.next()
    place = folder / str(fitted.count)
    place.mkdir(parents=True)
    meta = json.dumps({"C": model.C, "auc": 0.9}).encode()
    for name, data in (("model.pkl", pickle.dumps(model)), ("meta.json", meta)):
        with (place / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def saver(registry: mv.Registry, name: str, fitted: Fitted) -> Callable[[], mv.Version]:
    def save() -> mv.Version:
        model = fitted.next()
        return registry.save(name, model, params={"C": model.C}, metrics={"auc": 0.9})

    return save
