"""One of everything that has a display, for the browser to look at."""

import warnings
from datetime import UTC, datetime, timedelta

import fsspec
import pandas as pd
from sklearn.linear_model import LogisticRegression

import modelversion as mv

HOSTILE = (
    '"><img src=http://evil.example/x.png onerror="window.hit=1"><script>window.hit=2</script>'
)


class Clock:
    """A clock that goes on by three hours each time it is read, so that stages last a while."""

    def __init__(self):
        self.now = datetime(2026, 10, 1, tzinfo=UTC)

    def __call__(self):
        self.now += timedelta(hours=3, minutes=7)
        return self.now


def gallery(place, word="plan"):
    """Make a registry, and give name -> thing; `word` stands wherever a user can put a text."""
    warnings.simplefilter("ignore")
    clock = Clock()
    registry = mv.Registry(place, actor="ana@team", clock=clock)
    frame = pd.DataFrame({"age": [31, 44, 58], word: ["a", "b", "a"]})
    known = pd.DataFrame({"age": [31, 44, 58], word: [1, 2, 1]})

    @mv.step
    def features(df):
        return df[["age"]]

    runs = []
    for i, auc in enumerate([0.71, 0.88, 0.84, 0.91], 1):
        with registry.run(
            "churn",
            params={"C": i / 2, "kind": word},
            tags={"team": word},
            description=f"try {i} of {word}",
        ) as run:
            run.log_data(train=frame)
            features(frame)
            for step in range(12):
                loss = 1 / (step + 1) / i
                run.log_metrics({"train/loss": loss, "val/loss": loss + 0.05 * i}, step=step)
            run.log_metrics(auc=mv.metric(auc, n=1200), accuracy=mv.metric(auc - 0.05, n=1200))
            run.log_artifact("report.txt", word)
            run.log_model(LogisticRegression(C=i / 2).fit(known, [0, 1, 1]))
        runs.append(run)
    try:
        with registry.run("churn", on_error="keep") as failed:
            failed.log_metrics({"val/loss": 9.0})
            raise ValueError(word)
    except ValueError:
        pass
    churn = registry["churn"]
    registry.save("upsell", {"w": 1}, metrics={"auc": 0.8}, parents=["churn:4"])
    churn.set_alias("champion", 2)
    churn.set_alias("challenger", 4)
    registry["upsell"].set_alias("champion", 1)
    registry.set_policy("production", gates=[mv.gates.at_least("auc", 0.8)])
    churn[2].promote("production", reason=f"CR-1 {word}"[:200])
    churn[3].promote("staging", reason="best of sweep 12")
    churn[3].promote("production", reason="CR-2")
    rolled = churn.rollback("production", reason=word)
    churn[2].observe({"auc": 0.87}, n=1200, window=("2026-11-01", "2026-11-08"))
    churn[2].observe({"auc": 0.86}, n=1150, window=("2026-11-08", "2026-11-15"))
    churn[1].withdraw(reason=word, use_instead=2)
    bo = mv.Registry(place, actor="bo@team", clock=clock)["churn"]
    bo[4].note(f"looks good: {word}")
    return {
        "registry": registry,
        "model": churn,
        "versions": churn.versions(),
        "version": churn[4],
        "withdrawn": churn[1],
        "metrics": churn[4].metrics,
        "run": runs[-1],
        "failed-run": failed,
        "diff": churn[4].diff(churn["champion"]),
        "comparison": churn.compare("champion", 3, 4),
        "lineage": churn[4].lineage(),
        "history": churn.history(),
        "gates": churn[1].check("production"),
        "rollback": rolled,
        "explanation": churn.history("production")[-1].explain(),
        "observations": churn.observations(),
        "evaluation": churn.evaluate(2, 4, X=[[0]] * 60, y=[0] * 60, scorer={"accuracy": _score}),
        "steps": churn[4].steps,
        "events": registry.events(limit=20),
        "audit": registry.audit(),
        "data": _file(frame),
        "fingerprint": mv.fingerprint(frame),
        "verify": registry.verify(),
        "usage": registry.usage(),
        "prune": churn.prune(keep=2, dry_run=True),
        "gc": registry.gc(dry_run=True),
    }


def _file(frame):
    fsspec.filesystem("memory").pipe_file("/raw/churn.csv", frame.to_csv().encode())
    return mv.data("memory://raw/churn.csv", name="train")


def _score(model, X, y):
    return 0.75
