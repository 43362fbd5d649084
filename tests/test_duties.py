"""Saving and promoting kept apart by rights on the two journals."""

import os
import tempfile
from pathlib import Path

import pytest
from processes import together

import modelversion as mv
from modelversion.errors import ReadOnlyError

NOBODY = 65534


@pytest.fixture
def shared():
    """A registry in which everybody may save, and only its owner decides."""
    with tempfile.TemporaryDirectory() as place:
        registry = mv.Registry(f"{place}/r", actor="release")
        registry.save("churn", {"w": 1})
        registry["churn"][1].promote("production")
        Path(place).chmod(0o755)
        for folder, _, _ in os.walk(registry.url):
            Path(folder).chmod(0o777)
        for name in ("policies", "models/churn/decisions"):
            Path(registry.url, name).chmod(0o555)
        yield registry
        for folder, _, _ in os.walk(registry.url):
            Path(folder).chmod(0o777)


def _train(url):
    """Save as somebody without the right to decide; give what was refused."""
    if os.geteuid() == 0:
        os.setuid(NOBODY)
    registry = mv.Registry(url, actor="trainer")
    version = registry.save("churn", {"w": 2}, metrics={"auc": 0.9})
    version.tag(team="risk")
    loaded = registry.load("churn@production")
    refused = []
    for decide in (
        lambda: version.promote("production", reason="mine is better"),
        lambda: registry["churn"].rollback("production", reason="r", to=1),
        lambda: registry["churn"].set_alias("champion", 2),
        lambda: registry["churn"][1].withdraw(reason="r"),
        lambda: registry.set_policy("production", approvals=1),
        lambda: registry.save("another", {"w": 3}),
    ):
        try:
            decide()
        except (ReadOnlyError, mv.SaveError) as e:
            refused.append(type(e).__name__)
        except mv.ModelVersionError as e:
            refused.append(f"{type(e).__name__}: {e}")
    return version.ref, loaded, refused


def test_who_may_save_may_not_promote(shared):
    """The right to write the journal of facts is enough to save and to load by stage."""
    ((ref, loaded, refused),) = together(_train, [shared.url])

    assert (ref, loaded) == ("churn:2", {"w": 1})
    assert [kind for kind in refused if "Rollback" not in kind] == [
        *["ReadOnlyError"] * 4,
        "SaveError",
    ]
    assert len(refused) == 6
    assert shared["churn"]["production"].number == 1
    assert shared["churn"].aliases == {} and list(shared) == ["churn"]
    assert shared.verify()


def test_who_may_promote_goes_on(shared):
    """What a trainer saved is promoted by whoever has the right."""
    together(_train, [shared.url])
    Path(shared.url, "models/churn/decisions").chmod(0o777)

    shared["churn"][2].promote("production", reason="CR-118")

    assert shared.load("churn@production") == {"w": 2}
