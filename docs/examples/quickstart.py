"""The main job on real data: train, version, list, pick the best, load elsewhere, predict.

Run by `make quickstart`. Everything goes into the folder `model-registry/` where it is run.
"""

import subprocess
import sys
import tempfile

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import modelversion as mv

registry = mv.Registry("model-registry")
X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)


@mv.track("breast-cancer", registry=registry)
def train(X, y, kind="logistic", C=1.0, trees=50, seed=0):
    """Fit one model and log how well it does on data that it has not seen."""
    if kind == "logistic":
        model = make_pipeline(StandardScaler(), LogisticRegression(C=C))
    else:
        model = RandomForestClassifier(n_estimators=trees, random_state=seed)
    model.fit(X, y)
    chance = model.predict_proba(X_test)[:, 1]
    mv.log_metrics(auc=roc_auc_score(y_test, chance), log_loss=log_loss(y_test, chance))
    return model


PREDICT = """
import sys, modelversion as mv
from sklearn.datasets import load_breast_cancer
model = mv.Registry(sys.argv[1]).load("breast-cancer@champion")
X, _ = load_breast_cancer(return_X_y=True, as_frame=True)
print(*model.predict(X.head(10)))
"""


def main():
    """Do the whole job and say what happens."""
    print(f"1. Train under @mv.track on {len(X_train)} patients; each call commits a version.")
    for settings in (
        {"C": 0.01},
        {"C": 1.0},
        {"C": 100.0},
        {"kind": "forest", "trees": 20},
    ):
        call = mv.call(train, X_train, y_train, **settings)
        print(f"   {settings} -> {call.version!r}")

    again = mv.call(train, X_train, y_train, **settings)
    print(f"   the last call again -> {again.version.ref}: the same content, no new version")

    model = registry["breast-cancer"]
    print(f"\n2. {model!r}. Best log loss first:\n")
    print(model.versions(order_by="metrics.log_loss"))

    best = model.best("log_loss")
    model.set_alias("champion", best)
    print(f"\n3. The best is {best.ref}; breast-cancer@champion names it now.")

    print("\n4. A new process, in another folder, loads the champion and predicts ten patients:")
    with tempfile.TemporaryDirectory() as elsewhere:
        command = [sys.executable, "-c", PREDICT, registry.url]
        subprocess.run(command, cwd=elsewhere, check=True)

    print(f"\n5. Every byte checked: {registry.verify()}")


if __name__ == "__main__":
    main()
