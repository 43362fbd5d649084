"""Lineage: from data to what serves, across models; what descends from a bad one."""

import pandas as pd
import pytest
from test_display import ATTRIBUTES, TAGS, Reader

import modelversion as mv
from modelversion.history import History
from modelversion.lineage import Family, _key, _layers, lineage


@pytest.fixture
def family(registry):
    """churn:1 -> churn:2 -> fraud:1, and churn:3 of nothing; fraud:1 is the champion."""

    @mv.step
    def features(df):
        return df[["age"]]

    @registry.track("churn")
    def train(df):
        mv.log_metrics(rows=len(features(df)))
        return {"w": 1}

    train(pd.DataFrame({"age": [1, 2], "plan": ["a", "b"]}))
    registry.save("churn", {"w": 2}, parents=["churn:1"])
    registry.save("Fraud", {"w": 3}, parents=["churn:2"])
    registry.save("churn", {"w": 4})
    registry["fraud"].set_alias("champion", 1)
    return registry


def test_a_version_tells_what_it_was_made_from_and_what_became_of_it(family):
    """Data, steps, descendants in any model, and the names that they serve under."""
    found = family.get("churn:1").lineage()

    assert found.ancestors == ()
    assert found.descendants == ("churn:2", "Fraud:1")
    assert ("version churn:1", "version churn:2") in found.edges
    assert ("version churn:2", "version Fraud:1") in found.edges
    kinds = {(node.kind, node.name) for node in found.nodes}
    assert {("data", "df"), ("step", "features"), ("name", "Fraud@champion")} <= kinds
    assert any(one.startswith("step ") and two == "version churn:1" for one, two in found.edges)
    assert repr(found) == "<Lineage of churn:1: 0 before, 2 after>"


def test_the_line_goes_back_too(family):
    """Through every parent to the first one."""
    found = family.get("fraud:1").lineage()

    assert found.ancestors == ("churn:2", "churn:1") and found.descendants == ()


def test_a_model_tells_what_left_it_and_what_came_in(family):
    """Versions of its own are neither before nor after."""
    assert family["churn"].lineage().descendants == ("Fraud:1",)
    assert family["fraud"].lineage().ancestors == ("churn:2", "churn:1")


def test_what_descends_from_a_withdrawn_version_is_named(family):
    """And the display says so before anything else."""
    family.get("churn:1").withdraw(reason="bad labels")

    found = family.get("churn:1").lineage()

    assert found.withdrawn == ("churn:1",)
    assert "withdrawn: churn:1" in str(found).splitlines()[1]
    assert family.get("fraud:1").lineage().withdrawn == ("churn:1",)


def test_what_descends_from_a_bad_file_is_found(tmp_path, registry):
    """From the file over the version that read it to whatever was built on that."""
    bad = tmp_path / "bad.csv"
    bad.write_text("a\n1\n")
    registry.save("churn", {"w": 1}, data={"train": mv.data(bad)})
    registry.save("fraud", {"w": 2}, parents=["churn:1"])
    registry.save("other", {"w": 3})

    found = registry.search(data=bad).lineage()

    assert found.descendants == ("fraud:1",)
    assert "other:1" not in str(found)
    assert registry.search(where="number = 99").lineage().nodes == ()


def test_a_deleted_parent_is_still_in_the_line(family):
    """Its number is, though what it was made from is gone."""
    family.get("churn:2").delete(reason="erasure")

    found = family.get("fraud:1").lineage()

    assert found.ancestors == ("churn:2",)
    gone = next(node for node in found.nodes if node.name == "churn:2")
    assert "deleted" in gone.detail


def test_a_circle_of_parents_ends(family, monkeypatch):
    """Records that were edited may go in a circle; the walk does not."""
    full = History.full

    def edited(self, number):
        row = full(self, number)
        return {**row, "parents": ["fraud:1"]} if (self.line.name, number) == ("churn", 1) else row

    monkeypatch.setattr(History, "full", edited)

    found = family.get("churn:1").lineage()

    assert set(found.descendants) == {"churn:2", "Fraud:1"}
    Reader(found._repr_html_())


def test_references_that_are_none_are_passed_over():
    """An edited record may name anything."""
    assert _key("churn:3") == ("churn", 3)
    assert _key("churn") is None and _key("no/such:ref:3") is None and _key("") is None


def test_nodes_stand_behind_what_they_were_made_from(family):
    """In the drawing arrows go to the right."""
    found = family.get("churn:1").lineage()
    layers = _layers(found.nodes, found.edges)
    at = {name: i for i, layer in enumerate(layers) for name in layer}

    assert all(at[one] < at[other] for one, other in found.edges)


def test_a_long_line_is_cut_and_counted(registry):
    """A display has at most so many versions, and says how many more there are."""
    registry.save("m", {"w": 0})
    for i in range(320):
        registry.save("m", {"w": i + 1}, parents=["m:1"])

    found = registry["m"][1].lineage()

    assert len(found.descendants) == 320 and found.more == 21
    assert len(found._repr_html_().encode()) <= 20_000
    assert "more" in str(found)


def test_lineage_is_shown_as_text_in_html(family):
    """Only tags of ours, whatever is called what."""
    hostile = "x" * 10
    read = Reader(family.get("churn:1").lineage()._repr_html_())

    assert read.tags <= TAGS and read.attributes <= ATTRIBUTES
    assert hostile not in read.text and "features" in read.text


def test_lineage_of_nothing_is_empty(registry):
    """No versions, no nodes."""
    assert lineage(Family([]), [], of="nothing").nodes == ()


def test_data_sets_of_one_name_are_drawn_apart(registry):
    """Another content is another node, though both are called the same."""
    one, other = ({"train": [1, 2, i]} for i in (3, 4))
    registry.save("churn", {"w": 1}, data=one)
    registry.save("churn", {"w": 2}, data=other, parents=["churn:1"])

    edges = registry["churn"][2].lineage().to_dict()["from_data_to_stages"]

    assert {edge["from"] for edge in edges} == {"train", "train (2)", "churn:1"}
