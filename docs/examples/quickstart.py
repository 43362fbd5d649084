"""Train classifiers on real data, keep each as a version, use the best one in a new process.

`make quickstart` runs it; so does Python wherever scikit-learn and pandas are installed. It
writes to `model-registry/` in the current folder. Run it twice: repeats make no new versions.
"""

import json
import os
import subprocess
import sys
import tempfile

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import modelversion as mv

NAME = "breast-cancer"
registry = mv.Registry(os.path.abspath("model-registry"))

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)


@mv.track(NAME, registry=registry)
def train(X, y, *, kind, settings):
    """Fit one kind of classifier; what it returns is saved as a version."""
    model = {
        "boosting": lambda: GradientBoostingClassifier(random_state=0, **settings),
        "forest": lambda: RandomForestClassifier(random_state=0, **settings),
        "logistic": lambda: make_pipeline(StandardScaler(), LogisticRegression(**settings)),
    }[kind]()
    model.fit(X, y)
    chance = model.predict_proba(X_test)[:, 1]
    mv.log_metrics(auc=roc_auc_score(y_test, chance), log_loss=log_loss(y_test, chance))
    return model


CANDIDATES = [
    {"kind": "logistic", "settings": {"C": 0.001}},
    {"kind": "logistic", "settings": {"C": 0.1}},
    {"kind": "logistic", "settings": {"C": 10.0}},
    {"kind": "forest", "settings": {"n_estimators": 100}},
    {"kind": "boosting", "settings": {"max_depth": 2}},
]

# All that a serving process needs: it knows neither this file nor its functions.
SERVE = """
import sys
import modelversion as mv
import pandas as pd

model = mv.Registry(sys.argv[1]).load("breast-cancer@champion")
print(model.predict(pd.read_json(sys.stdin)).tolist())
"""


def main():
    """Train, list, pick, load elsewhere, repeat, verify."""
    print(f"1. Train on {len(X_train)} tumours; each call of train() becomes a version.")
    for candidate in CANDIDATES:
        version, new = train_once(candidate)
        print(f"   {version.ref}  {'saved' if new else 'is there from an earlier run'}")

    tumours = registry[NAME]
    print(f"\n2. What is there, measured on {len(X_test)} other tumours, best first.")
    table = tumours.versions(order_by="metrics.log_loss").to_pandas()
    shown = ["number", "params.kind", "params.settings", "metrics.auc", "metrics.log_loss"]
    print(indented(table[shown].to_string(index=False, float_format="%.4f")))

    best = tumours.best("log_loss")
    tumours.set_alias("champion", best)
    print(f"\n3. The lowest log loss has {best.ref}; it is now {NAME}@champion.")

    rows = X_test.head(8)
    answers = predict_elsewhere(rows)
    same = answers == best.load().predict(rows).tolist()
    print("\n4. A new process in an empty folder loads the champion and predicts 8 tumours.")
    print(f"   predicted {answers}  ({'the same as here' if same else 'OTHER THAN HERE'})")
    print(f"   truth     {y_test.head(8).tolist()}")

    before = len(tumours)
    run = mv.call(train, X_train, y_train, **CANDIDATES[-1])
    print("\n5. Train the last one once more; what is the same as the latest makes no new version.")
    print(f"   it is {run.version.ref}; there were {before} versions, and there are {len(tumours)}")

    report = registry.verify()
    print("\n6. Read every file again and compare it with its SHA-256.")
    print(f"   {report}")
    print(f"\nLook around in {registry.url}, or run this again.")
    return 0 if same and report else 1


def train_once(candidate):
    """Give the version of a candidate, and whether it was trained just now."""
    earlier = registry[NAME].versions() if NAME in registry else []
    for version in earlier:
        if version.params == candidate:
            return version, False
    return mv.call(train, X_train, y_train, **candidate).version, True


def predict_elsewhere(rows):
    """Load the champion in a new process, in an empty folder, and give its predictions."""
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(
            [sys.executable, "-c", SERVE, registry.url],
            input=rows.to_json(),
            cwd=elsewhere,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return json.loads(done.stdout)


def indented(text):
    """Give text with a margin."""
    return "\n".join("   " + line for line in text.splitlines())


if __name__ == "__main__":
    sys.exit(main())
