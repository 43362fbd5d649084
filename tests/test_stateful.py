"""A registry, used in any way by two handles at once, is what a dict says it is."""

import pickle
import warnings
from datetime import timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from machines import TwoHandles, handles, picks, run

import modelversion as mv
from modelversion.errors import (
    AliasNotFoundError,
    ConflictError,
    InUseError,
    VersionNotFoundError,
    WithdrawnWarning,
)

MODELS = ["churn", "Fraud"]
ALIASES = ["champion", "next"]
models = st.sampled_from(MODELS)
weights = st.integers(0, 3)
# As a number, as text in a tag of the same name, and so on: what must not be mixed up.
tags = st.dictionaries(
    st.sampled_from(["team", "$float"]), st.sampled_from(["a", 1, None]), max_size=2
)


class Expected:
    """A version as the dict has it."""

    def __init__(self, weight, tagged):
        self.weight = weight
        self.saved_tags = dict(tagged)
        self.tags = dict(tagged)
        self.notes = 0
        self.withdrawn = None
        self.deleted = False

    @property
    def content(self):
        return self.weight, tuple(sorted(self.saved_tags.items()))


class RegistryMachine(TwoHandles):
    """Two handles on one place; every rule is checked against plain dicts."""

    @initialize()
    def open(self):
        place = self.new_place()
        self.handles = [mv.Registry(place) for _ in range(2)]
        self.versions = {model: {} for model in MODELS}
        self.aliases = {model: {} for model in MODELS}
        for model in MODELS:
            self.save(0, model, 0, {}, True)

    # ---- helpers

    def live(self, model):
        return [n for n, v in self.versions[model].items() if not v.deleted]

    def pick(self, model, i):
        return self.one_of(self.versions[model], i)

    def handle(self, h, model):
        return self.handles[h][model]

    def version(self, h, model, number):
        deleted = self.versions[model][number].deleted
        return self.found(self.handle(h, model), number, deleted)

    # ---- rules

    @rule(h=handles, model=models, weight=weights, tags=tags, new=st.booleans())
    def save(self, h, model, weight, tags, new):
        expected = Expected(weight, tags)
        highest = max(self.versions[model], default=0)
        latest = self.versions[model].get(highest)
        same = (
            not new
            and latest is not None
            and not latest.deleted
            and latest.withdrawn is None
            and latest.content == expected.content
            and {k: type(v) for k, v in latest.saved_tags.items()}
            == {k: type(v) for k, v in tags.items()}
        )

        version = self.handles[h].save(model.upper(), {"weight": weight}, tags=tags, new=new)

        if same:
            assert version.number == highest
        else:
            assert version.number > highest
            self.versions[model][version.number] = expected

    @rule(h=handles, model=models, alias=st.sampled_from(ALIASES), i=picks)
    def set_alias(self, h, model, alias, i):
        number = self.pick(model, i)
        if self.versions[model][number].deleted:
            with pytest.raises(VersionNotFoundError):
                self.handle(h, model).set_alias(alias, number)
        else:
            self.handle(h, model).set_alias(alias.upper(), number)
            self.aliases[model][alias] = number

    @rule(h=handles, model=models, alias=st.sampled_from(ALIASES))
    def delete_alias(self, h, model, alias):
        if alias in self.aliases[model]:
            self.handle(h, model).delete_alias(alias)
            del self.aliases[model][alias]
        else:
            with pytest.raises(AliasNotFoundError):
                self.handle(h, model).delete_alias(alias)

    @rule(h=handles, model=models, i=picks, tags=tags, gone=st.sampled_from(["team", "other"]))
    def tag(self, h, model, i, tags, gone):
        number = self.pick(model, i)
        version = self.version(h, model, number)
        if version is not None:
            version.untag(gone)
            version.tag(tags)
            version.note("seen")
            expected = self.versions[model][number]
            expected.tags.pop(gone, None)
            expected.tags.update(tags)
            expected.notes += 1

    @rule(h=handles, model=models, i=picks)
    def withdraw(self, h, model, i):
        number = self.pick(model, i)
        version, expected = self.version(h, model, number), self.versions[model][number]
        if version is None:
            return
        if expected.withdrawn is None:
            version.withdraw(reason=f"reason {number}")
            expected.withdrawn = f"reason {number}"
        else:
            with pytest.raises(ConflictError):
                version.withdraw(reason="again")

    @rule(h=handles, model=models, i=picks)
    def restore(self, h, model, i):
        number = self.pick(model, i)
        version, expected = self.version(h, model, number), self.versions[model][number]
        if version is None:
            return
        if expected.withdrawn is None:
            with pytest.raises(ConflictError):
                version.restore(reason="r")
        else:
            version.restore(reason="r")
            expected.withdrawn = None

    @rule(h=handles, model=models, i=picks, everywhere=st.booleans())
    def delete(self, h, model, i, everywhere):
        number = self.pick(model, i)
        version = self.version(h, model, number)
        if version is None:
            return
        weight = self.versions[model][number].weight
        twins = [n for n in self.live(model) if self.versions[model][n].weight == weight]
        doomed = twins if everywhere else [number]
        elsewhere = [
            (other, n)
            for other in MODELS
            if other != model
            for n in self.live(other)
            if self.versions[other][n].weight == weight
        ]
        held = set(self.aliases[model].values()) & set(doomed)
        if held or elsewhere or (len(twins) > 1 and not everywhere):
            # Twins of another model may be deleted with it, or be a reason to refuse.
            try:
                version.delete(reason="r", everywhere=everywhere)
            except InUseError:
                return
            assert not held and (everywhere or len(twins) == 1)
            for other, n in elsewhere:
                self.versions[other][n].deleted = n not in self.handle(h, other)
        else:
            version.delete(reason="r", everywhere=everywhere)
        for n in doomed:
            self.versions[model][n].deleted = True

    @rule(h=handles, dry_run=st.booleans())
    def gc(self, h, dry_run):
        report = self.handles[h].gc(older_than=timedelta(0), dry_run=dry_run)
        assert report.abandoned == ()

    @rule(h=handles)
    def reopen(self, h):
        self.handles[h] = mv.Registry(self.place)

    @rule(h=handles)
    def pickle(self, h):
        self.handles[h] = pickle.loads(pickle.dumps(self.handles[h]))

    @rule(h=handles, model=models, keep=st.sampled_from([0, 2, 3, 5, 8]))
    def prune(self, h, model, keep):
        live = self.live(model)
        held = set(self.aliases[model].values())
        kept = set(live[len(live) - keep :]) | held

        report = self.handle(h, model).prune(keep=keep)

        assert set(report.kept) == kept
        for number in live:
            self.versions[model][number].deleted = number not in kept

    # ---- what always holds

    @invariant()
    def both_handles_say_what_the_dict_says(self):
        for registry in getattr(self, "handles", ()):
            assert list(registry) == [model.upper() for model in MODELS]
            for model in MODELS:
                self.check_model(registry[model], model)

    def check_model(self, found, model):
        live = self.live(model)
        assert [version.number for version in found] == live
        assert found.aliases == self.aliases[model]
        assert len(found) == len(live)
        if live:
            assert found.latest.number == live[-1]
        columns = found.versions().to_dict()
        assert columns.get("withdrawn", []) == [
            self.versions[model][n].withdrawn is not None for n in live
        ]
        for version in found:
            expected = self.versions[model][version.number]
            assert dict(version.tags) == expected.tags
            assert len(version.notes) == expected.notes
            assert version.withdrawn == expected.withdrawn
            assert set(version.aliases) == {
                alias for alias, n in self.aliases[model].items() if n == version.number
            }

    def at_the_end(self):
        fresh = mv.Registry(self.place)
        report = fresh.verify()
        assert report.ok, str(report)
        assert report.pending == ()
        for model in MODELS:
            for number in self.live(model):
                expected = self.versions[model][number]
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    assert fresh.load(f"{model}:{number}") == {"weight": expected.weight}
                warned = [w for w in caught if w.category is WithdrawnWarning]
                assert len(warned) == (expected.withdrawn is not None)


@pytest.mark.parametrize(("in_memory", "examples"), [(True, 60), (False, 12)])
def test_a_registry_is_what_a_dict_says(in_memory, examples):
    """Whatever is done through two handles, both and a third one agree with a dict."""
    run(RegistryMachine, in_memory=in_memory, examples=examples)
