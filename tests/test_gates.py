"""Gates and policies: what each asks, what it sees, and what can never be met."""

import json
import sys
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelversion as mv
from modelversion import gates
from modelversion._json import dumps, loads
from modelversion.errors import (
    ApprovalError,
    GateFailedError,
    InvalidInputError,
    PolicyError,
    RecordError,
    StageNotFoundError,
    VersionNotFoundError,
)
from modelversion.policies import Policy, check_policy, policy_from
from modelversion.state import Rules
from modelversion.verdicts import decide, judge

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def registry(place, clock):
    """An empty registry with a clock of the test's."""
    return mv.Registry(place, actor="ana@team", clock=clock)


@pytest.fixture
def bob(registry):
    """Another person on the same registry."""
    return mv.Registry(registry.url, actor="bob@team", clock=registry._home.clock)


def saved(registry, value=1, name="churn", **more):
    return registry.save(name, {"w": value}, new=True, **more)


def judged(version, gate, stage="production"):
    """Give how one gate of a policy comes out for a version."""
    registry = mv.Registry(
        version._line.home.store.url, actor="ana@team", clock=version._line.home.clock
    )
    registry.set_policy(stage, gates=[gate])
    return registry.get(version.ref).check(stage).verdicts[-1]


# ---- numbers


@pytest.mark.parametrize(
    ("gate", "value", "passed"),
    [
        (gates.at_least("auc", 0.85), 0.85, True),
        (gates.at_least("auc", 0.85), 0.8499999, False),
        (gates.at_least("auc", 1), 2**70, True),
        (gates.at_least("auc", 2**70), 2**70 - 1, False),
        (gates.at_least("auc", 0), INF, True),
        (gates.at_least("auc", 0), -INF, False),
        (gates.at_least("auc", -1), NAN, False),
        (gates.at_most("auc", 0.5), 0.5, True),
        (gates.at_most("auc", 0.5), 0.50001, False),
        (gates.at_most("auc", 0.5), NAN, False),
        (gates.at_most("auc", 0.5), -INF, True),
    ],
)
def test_a_bound_holds_a_metric(registry, gate, value, passed):
    """At the bound it passes; NaN never does."""
    verdict = judged(saved(registry, metrics={"auc": value}), gate)

    assert verdict.passed is passed
    assert "auc" in verdict.says


@pytest.mark.parametrize(
    "gate",
    [gates.at_least("f1", 0), gates.at_most("f1", 9), gates.not_worse_than("production", "f1")],
)
def test_a_metric_that_is_absent_fails_by_its_name(registry, gate):
    """The version has another."""
    verdict = judged(saved(registry, metrics={"auc": 1}), gate)

    assert not verdict.passed
    assert "the version has no metric 'f1'" in verdict.says


@pytest.mark.parametrize(
    ("metric", "candidate", "incumbent", "by", "passed"),
    [
        ("auc", 0.9, 0.9, 0, True),
        ("auc", 0.898, 0.9, 0.002, True),  # as printed; in floats it is less
        ("auc", 0.8979, 0.9, 0.002, False),
        ("auc", 0.95, 0.9, 0, True),
        ("loss", 0.2, 0.1, 0, False),
        ("loss", 0.102, 0.1, 0.002, True),
        ("loss", 0.05, 0.1, 0, True),
        ("auc", INF, INF, 0, True),
        ("auc", 0.9, INF, 5, False),
        ("auc", 0.9, -INF, 0, True),
        ("auc", NAN, 0.9, 5, False),
        ("auc", 0.9, NAN, 5, False),
        ("auc", NAN, NAN, 5, False),
        ("auc", 2**70, 2**70 + 1, 1, True),
        ("auc", 2**70, 2**70 + 2, 1, False),
        ("auc", 10**400, 10**400 + 1, 0.5, False),
    ],
)
def test_a_version_is_held_against_the_incumbent(
    registry, metric, candidate, incumbent, by, passed
):
    """By the metric's direction, with a margin, in the decimals that one reads."""
    saved(registry, metrics={metric: incumbent}).promote("production")

    verdict = judged(
        saved(registry, metrics={metric: candidate}),
        gates.not_worse_than("production", metric, by=by),
    )

    assert verdict.passed is passed, verdict


def test_the_direction_that_was_recorded_counts(registry):
    """Else the name's, else the gate's; without any it fails and says what to do."""
    for name, metric in (("a", "depth"), ("b", "auc")):
        lower = mv.metric(5, higher_is_better=False)
        saved(registry, name=name, metrics={metric: lower}).promote("staging")
        worse = saved(registry, name=name, metrics={metric: mv.metric(9, higher_is_better=False)})
        assert not judged(worse, gates.not_worse_than("staging", metric)).passed
    saved(registry, name="c", metrics={"depth": 5}).promote("staging")
    untold = saved(registry, name="c", metrics={"depth": 9})
    verdict = judged(untold, gates.not_worse_than("staging", "depth"))
    assert "say higher_is_better=" in verdict.says
    told = gates.not_worse_than("staging", "depth", higher_is_better=True)
    assert judged(untold, told).passed


def test_without_an_incumbent_a_comparison_passes_and_says_so(registry):
    """The first version must get in."""
    version = saved(registry, metrics={"auc": 0.1})

    for gate in (gates.not_worse_than("production", "auc"), gates.same_data_schema("production")):
        verdict = judged(version, gate)
        assert verdict.passed
        assert "nothing is in production yet" in verdict.says


def test_an_incumbent_without_the_metric_cannot_be_compared(registry):
    """It fails, and names who lacks it."""
    saved(registry, metrics={"f1": 1}).promote("production")

    verdict = judged(saved(registry, metrics={"auc": 1}), gates.not_worse_than("production", "auc"))

    assert not verdict.passed
    assert "the version in production (1) has no metric 'auc'" in verdict.says


# ---- what is recorded


@pytest.mark.parametrize(
    ("field", "passed"),
    [
        ("description", True),
        ("tags.team", True),
        ("tags.none", False),
        ("tags.gone", False),
        ("tags.later", True),
        ("params.C", True),
        ("params.$x", True),
        ("params.d", False),
        ("metrics.auc", True),
        ("data.train", True),
        ("data.test", False),
        ("parents", False),
        ("environment", True),
    ],
)
def test_a_field_is_required(registry, field, passed):
    """Tags count as they are now; what is empty is missing and named."""
    version = saved(
        registry,
        description="good",
        tags={"team": "risk", "none": None, "gone": 1},
        params={"C": 0, "$x": False},
        metrics={"auc": 0},
        data={"train": [[1.0], [2.0]]},
    )
    version.untag("gone")
    version.tag(later=0)

    verdict = judged(version, gates.requires([field]))

    assert verdict.passed is passed
    assert passed or field in verdict.says


@pytest.mark.parametrize("size", [1, 10**9])
def test_a_size_is_held(registry, size):
    """All files together."""
    version = saved(registry)

    verdict = judged(version, gates.smaller_than(size))

    assert verdict.passed is (size > 1)
    assert f"{sum(f.size for f in version.files)} bytes" in verdict.says


def test_data_must_have_the_same_shape(registry):
    """Names, columns and types; each difference is named."""
    import pandas

    old = pandas.DataFrame({"age": [1, 2], "name": ["a", "b"]})
    saved(registry, data={"train": old}).promote("production")
    same = saved(registry, data={"train": pandas.DataFrame({"age": [7], "name": ["c"]})})
    other = saved(registry, data={"train": pandas.DataFrame({"age": [7.5], "sex": ["c"]})})
    none = saved(registry)
    gate = gates.same_data_schema("production")

    assert judged(same, gate).passed
    says = judged(other, gate).says
    assert "'age' was int64, is " in says and "float64" in says
    assert "'sex' was absent" in says and "'name' was" in says
    assert "data 'train' is missing" in judged(none, gate).says


def test_files_are_hashed_at_that_moment(registry):
    """A byte that was flipped since the save fails, and the file is named."""
    version = saved(registry)
    assert judged(version, gates.verified()).passed
    store = registry._home.store
    key = f"models/churn/versions/1/{version.files[0].path}"
    data = bytearray(store.read(key))
    data[-3] ^= 1
    store.remove(key)
    store.put(key, bytes(data))

    verdict = judged(version, gates.verified())

    assert not verdict.passed
    assert version.files[0].path in verdict.says


def test_a_damaged_record_fails_what_needs_it(registry):
    """The others are judged, and an override lets it in where the policy allows."""
    saved(registry, metrics={"auc": 1}).promote("production")
    better = saved(registry, metrics={"auc": 2})
    store = registry._home.store
    store.remove("models/churn/versions/1/version.json")

    verdict = judged(better, gates.not_worse_than("production", "auc"))

    assert not verdict.passed
    assert "cannot be judged" in verdict.says
    better.promote("production", override=True, reason="the old one is broken")
    assert all(decision.explain() for decision in registry["churn"].history())


# ---- combined


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("second", [True, False])
def test_gates_are_combined(registry, first, second):
    """All of them, or any of them, nested too."""
    version = saved(registry, metrics={"auc": 0.5})
    parts = [gates.at_least("auc", 0.4 if ok else 0.6) for ok in (first, second)]

    assert judged(version, gates.all_of(*parts)).passed is (first and second)
    assert judged(version, gates.any_of(*parts)).passed is (first or second)
    nested = gates.any_of(gates.all_of(*parts), gates.all_of(parts[0]))
    assert judged(version, nested).passed is first


# ---- a function of the user's


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that can be imported, written by the test."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(source):
        (tmp_path / "own_gates.py").write_text(source)
        sys.modules.pop("own_gates", None)

    yield write
    sys.modules.pop("own_gates", None)


@pytest.mark.parametrize(
    ("source", "passed", "says"),
    [
        ("def f(v, s): return True", True, "own_gates:f says so"),
        ("def f(v, s): return False", False, "own_gates:f says so"),
        ("def f(v, s): return True, f'{v.ref} for {s}'", True, "churn:1 for production"),
        ("def f(v, s): return v.metrics['auc'] > 1, 'too low'", False, "too low"),
        ("import numpy\ndef f(v, s): return numpy.bool_(True)", True, "says so"),
        ("def f(v, s): return None", False, "gave None, not a bool"),
        ("def f(v, s): return 1", False, "gave 1, not a bool"),
        ("def f(v, s): return 'yes'", False, "not a bool"),
        ("def f(v, s): return True, 5", False, "not a bool"),
        ("def f(v, s): raise ValueError('x\\x1b[2J')", False, "ValueError"),
        ("def f(v, s): raise SystemExit(0)", False, "SystemExit: 0"),
        ("def f(v, s): return v.promote(s)", False, "asks itself"),
        ("def f(v, s): return v.check(s).passed", False, "own_gates:f says so"),
        ("def f(v, s): raise OSError('postgresql://ana:hunter2@db')", False, "postgresql://"),
        ("def f(v, s): return True, 'as postgresql://ana:hunter2@db'", True, "postgresql://"),
        ("def f(v): return True", False, "TypeError"),
        ("f = 5", False, "not callable"),
        ("g = 5", False, "has no attribute 'f'"),
        ("import nothing_of_that_name", False, "No module named 'nothing_of_that_name'"),
        ("class f:\n  def __new__(cls, v, s): return True", True, "says so"),
        ("def f(v, s): return True, 'x' * 10_000", True, "xxx"),
    ],
)
def test_a_function_is_asked_by_its_name(registry, module, source, passed, says):
    """Only True passes; whatever else it gives or raises has failed, and is said."""
    module(source)

    verdict = judged(saved(registry, metrics={"auc": 0.5}), "own_gates:f")

    assert verdict.passed is passed
    assert says in verdict.says
    assert verdict.says.isprintable() and "hunter2" not in verdict.says
    assert len(verdict.says) <= 500


def test_a_function_that_cannot_be_imported_fails(registry):
    """On the machine of whoever promotes; nothing was stored of its source."""
    verdict = judged(saved(registry), "nowhere.at_all:f")

    assert not verdict.passed
    assert "ModuleNotFoundError" in verdict.says


# ---- as data


def gate_strategy():
    metric = st.sampled_from(["auc", "val/loss", "größe"])
    number = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    simple = st.one_of(
        st.builds(gates.at_least, metric, number),
        st.builds(gates.at_most, metric, number),
        st.builds(
            lambda m, by, up: gates.not_worse_than("production", m, by=by, higher_is_better=up),
            metric,
            st.floats(0, 1e300),
            st.none() | st.booleans(),
        ),
        st.just(gates.verified()),
        st.builds(gates.smaller_than, st.integers(1)),
        st.just(gates.requires(["tags.team", "description"])),
        st.just(gates.same_data_schema("staging")),
        st.just(gates.call("a.b:c.d")),
    )
    return st.recursive(
        simple,
        lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda g: gates.any_of(*g)),
        max_leaves=5,
    )


@given(
    st.lists(gate_strategy(), max_size=4), st.integers(0, 5), st.booleans(), st.integers(0, 10**6)
)
def test_a_policy_comes_back_from_its_json(several, approvals, flag, soak):
    """Whatever gates it has, stored and read it is the same."""
    policy = Policy(
        after="staging",
        soak=timedelta(seconds=soak),
        approvals=approvals,
        gates=tuple(several),
        reason_required=flag,
        allow_override=not flag,
    )

    found = policy_from(loads(dumps(policy.to_dict()), "policy"), "policy")

    assert found == policy
    assert str(found) == str(policy)


class Blind:
    """Eyes that see nothing anywhere."""

    number = 1

    def __getattr__(self, name):
        answers = {"metric": {}, "missing": [], "damage": [], "size": 5, "incumbent": None}
        return lambda *args: answers.get(name, {"passed": False, "says": "no"})


@given(gate_strategy())
def test_the_same_is_always_judged_in_the_same_way(gate):
    """From what it saw alone, a verdict comes out again, also through JSON."""
    verdict = decide(gate, Blind())

    again = judge(gate, loads(dumps(verdict.seen), "seen"))

    assert (again.passed, again.says) == (verdict.passed, verdict.says)
    assert decide(gate, Blind(), verdict.seen).to_dict() == verdict.to_dict()


@pytest.mark.parametrize(
    "value",
    [
        5,
        {},
        {"gate": 5},
        {"gate": "at_least"},
        {"gate": "at_least", "metric": "auc", "value": {"$float": "nan"}},
        {"gate": "at_least", "metric": "auc", "value": 1, "more": 1},
        {"gate": "any_of"},
        {"gate": "any_of", "gates": []},
        {"gate": "any_of", "gates": [5]},
        {"gate": "call", "target": "os.system"},
        {"gate": "smaller_than", "bytes": -1},
        {"gate": "requires", "fields": ["secrets"]},
    ],
)
def test_a_stored_gate_that_was_edited_is_refused(value):
    """It is never judged as something else."""
    with pytest.raises(RecordError, match="edited"):
        gates.gate_from(value, "policy.gates[0]")


def test_a_gate_of_a_newer_release_never_passes(registry):
    """It is kept and shown, and says what to install."""
    gate = gates.gate_from({"gate": "is_magic", "level": 9}, "gate")

    verdict = judge(gate, {})

    assert not verdict.passed
    assert "install a newer one" in verdict.says
    assert gate.to_dict() == {"gate": "is_magic", "level": 9}


# ---- bad input


@pytest.mark.parametrize(
    "build",
    [
        lambda: gates.at_least("auc", NAN),
        lambda: gates.at_least("auc", INF),
        lambda: gates.at_least("auc", "0.9"),
        lambda: gates.at_least("auc", True),
        lambda: gates.at_least("auc", None),
        lambda: gates.at_least("", 1),
        lambda: gates.at_least("a`b", 1),
        lambda: gates.at_most(5, 1),
        lambda: gates.not_worse_than("a b", "auc"),
        lambda: gates.not_worse_than("production", "auc", by=-0.1),
        lambda: gates.not_worse_than("production", "auc", by=NAN),
        lambda: gates.not_worse_than("production", "auc", higher_is_better="yes"),
        lambda: gates.requires([]),
        lambda: gates.requires("description"),
        lambda: gates.requires(["nothing"]),
        lambda: gates.requires(["tags"]),
        lambda: gates.requires(["description.x"]),
        lambda: gates.requires([5]),
        lambda: gates.smaller_than(0),
        lambda: gates.smaller_than(1.5),
        lambda: gates.smaller_than(True),
        lambda: gates.same_data_schema(None),
        lambda: gates.call("os.system"),
        lambda: gates.call("os:sys tem"),
        lambda: gates.call(":f"),
        lambda: gates.call("../x:f"),
        lambda: gates.call(print),
        gates.all_of,
        lambda: gates.any_of(5),
        lambda: gates.any_of("not a name"),
    ],
)
def test_a_gate_that_is_none_is_refused(build):
    """When it is built, with one typed error."""
    with pytest.raises(InvalidInputError):
        build()


def test_gates_are_not_nested_without_end():
    """A cycle cannot be built; a tower is refused."""
    gate = gates.verified()

    with pytest.raises(InvalidInputError, match="nested"):
        for _ in range(20):
            gate = gates.all_of(gate)


IMPOSSIBLE = {
    "bounds": {"gates": [gates.at_least("auc", 0.9), gates.at_most("auc", 0.8)]},
    "bounds inside": {
        "gates": [gates.all_of(gates.at_least("auc", 0.9)), gates.all_of(gates.at_most("auc", 0.8))]
    },
    "no branch": {
        "gates": [
            gates.at_least("auc", 0.9),
            gates.any_of(gates.at_most("auc", 0.8), gates.at_most("auc", 0.7)),
        ]
    },
    "unknown after": {"after": "qa"},
    "unknown stage": {"gates": [gates.not_worse_than("qa", "auc")]},
    "unknown inside": {"gates": [gates.any_of(gates.same_data_schema("qa"))]},
    "itself": {"after": "production"},
    "soak of nothing": {"soak": timedelta(days=1)},
    "negative soak": {"after": "staging", "soak": timedelta(-1)},
    "soak of seconds": {"after": "staging", "soak": 60},
    "negative approvals": {"approvals": -1},
    "half an approval": {"approvals": 0.5},
    "true approvals": {"approvals": True},
    "no bool": {"reason_required": "yes"},
    "no bool either": {"allow_override": None},
    "too large": {"gates": [gates.requires([f"tags.{i:0199d}" for i in range(60)])]},
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_policy_that_can_never_be_met_is_refused(registry, name):
    """When it is set, and nothing is written."""
    saved(registry)
    before = registry._home.policies().head().position

    with pytest.raises(PolicyError):
        registry.set_policy("production", **IMPOSSIBLE[name])

    assert dict(registry.policies) == {}
    assert registry._home.policies().head().position == before


@pytest.mark.parametrize("wrong", [{"gates": "os:f"}, {"gates": 5}, {"gates": [5]}, {"gates": {}}])
def test_gates_that_are_no_list_are_refused(registry, wrong):
    """A text is taken for one name nowhere but inside a list."""
    with pytest.raises(InvalidInputError):
        registry.set_policy("production", **wrong)


@pytest.mark.parametrize(
    "gate",
    [
        gates.Gate("is_magic", {"level": 9}),
        gates.Gate("not_frozen", {"stage": "production"}),
        gates.Gate("any_of", {"gates": [{"gate": "is_magic"}]}),
    ],
    ids=["newer", "built in", "inside"],
)
def test_a_gate_that_this_release_cannot_judge_is_not_set(registry, gate):
    """Nothing would ever pass it; the gates that there are are listed."""
    with pytest.raises(InvalidInputError, match=r"no gate '.*'.* gates: all_of, .*at_least"):
        registry.set_policy("production", gates=[gate])
    with pytest.raises(InvalidInputError, match="no gate"):
        gates.all_of(gates.verified(), gate)


def test_a_circle_of_stages_is_refused(registry):
    """Through any number of policies."""
    registry.set_stages(["a", "b", "c"])
    registry.set_policy("b", after="a")
    registry.set_policy("c", after="b")

    with pytest.raises(PolicyError, match="a after c after b after a is a circle"):
        registry.set_policy("a", after="c")


@pytest.mark.parametrize(
    "gates_",
    [
        [gates.at_least("auc", 0.8), gates.at_most("auc", 0.8)],
        [gates.at_least("auc", 0.9), gates.at_most("loss", 0.8)],
        [gates.at_least("auc", 0.9), gates.any_of(gates.at_most("auc", 0.8), gates.verified())],
    ],
)
def test_a_policy_that_can_be_met_is_set(gates_):
    """However narrow."""
    given_ = {
        "after": None,
        "soak": None,
        "approvals": 0,
        "gates": gates_,
        "reason_required": False,
        "allow_override": True,
    }

    assert check_policy(Rules(), "production", given_).gates == tuple(gates_)


# ---- policies at work


def test_a_stage_is_reached_in_order(registry):
    """`after` asks that it is or was there; a deleted policy asks nothing."""
    registry.set_policy("production", after="staging")
    first, second = saved(registry), saved(registry, 2)

    with pytest.raises(GateFailedError, match="never been in staging"):
        first.promote("production")
    first.promote("staging")
    second.promote("staging")
    first.promote("production")
    registry.set_policy("production")
    saved(registry, 3).promote("production")

    assert registry["churn"].stages["production"] == [3]


def test_a_version_soaks(registry, clock):
    """All its stays together, with clocks that step back counted as nothing."""
    registry.set_policy("production", after="staging", soak=timedelta(hours=2))
    first, second = saved(registry), saved(registry, 2)
    first.promote("staging")
    clock.now += timedelta(hours=1)
    second.promote("staging")
    clock.now += timedelta(hours=5)
    with pytest.raises(GateFailedError, match="of 7200 s"):
        first.promote("production")
    first.promote("staging")
    clock.now -= timedelta(hours=4)
    assert not first.check("production")
    clock.now += timedelta(hours=5)

    first.promote("production")

    assert registry["churn"].stages["production"] == [1]
    assert all(decision.explain() for decision in registry["churn"].history())


def test_a_reason_is_asked_for(registry):
    """Where the policy wants one."""
    registry.set_policy("production", reason_required=True)
    version = saved(registry)

    with pytest.raises(InvalidInputError, match="needs a reason"):
        version.promote("production")
    version.promote("production", reason="CR-1")


def test_overrides_can_be_ruled_out(registry):
    """Then nothing passes over a gate, and the message says so."""
    registry.set_policy("production", allow_override=False, gates=[gates.at_least("auc", 1)])
    version = saved(registry)

    with pytest.raises(GateFailedError, match="the policy allows none") as refusal:
        version.promote("production", override=True, reason="please")

    assert not refusal.value.report.can_override
    assert registry["churn"].stages["production"] == []


def test_an_override_of_nothing_is_none(registry):
    """What passes is promoted as what it is."""
    assert not saved(registry).promote("production", override=True, reason="r").override


def test_a_policy_is_obeyed_by_models_old_and_new(registry):
    """By those that were there, those made later, and through a handle opened before."""
    old, handle = saved(registry), mv.Registry(registry.url, clock=registry._home.clock)
    handle["churn"].stages  # noqa: B018 - it has read what there was
    registry.set_policy("production", gates=[gates.at_least("auc", 1)])
    new = saved(registry, name="fraud")

    for version in (old, new, handle.get("churn:1"), handle.get("fraud:1")):
        with pytest.raises(GateFailedError):
            version.promote("production")
    assert handle["churn"].history()[-1].kind == "policy.adopted"


def test_setting_the_same_policy_again_writes_nothing(registry):
    """But adopts it where its setter was killed before."""
    saved(registry)
    registry.set_policy("production", approvals=1)
    positions = registry._home.policies().head().position, len(registry["churn"].history())

    registry.set_policy("production", approvals=1)

    assert positions == (
        registry._home.policies().head().position,
        len(registry["churn"].history()),
    )


def test_an_interrupted_setter_is_finished_by_the_next(registry, monkeypatch):
    """Between the registry's journal and the models', nothing is promised yet."""
    from modelversion import governing

    saved(registry).promote("staging")

    def killed(line):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(governing, "adopt", killed)
        registry.set_policy("production", approvals=1)
    assert registry["churn"].latest.check("production").adopts
    assert not registry["churn"]._line.decisions.head().state.rules.policies

    registry.set_policy("production", approvals=1)

    report = registry["churn"].latest.check("production")
    assert not report and not report.adopts
    assert registry["churn"]._line.decisions.head().state.rules.policies


# ---- approvals


@pytest.fixture
def gated(registry):
    """A version that needs two approvals."""
    registry.set_policy("production", approvals=2)
    return saved(registry)


def as_(version, name):
    home = version._line.home
    return mv.Registry(home.store.url, actor=name, clock=home.clock).get(version.ref)


def test_a_quorum_lets_a_version_in(gated):
    """So many different people, none of whom is the author."""
    as_(gated, "bob").approve("production", reason="ok")
    with pytest.raises(GateFailedError, match="1 of 2 approvals by bob"):
        gated.promote("production")
    as_(gated, "eve").approve("production", reason="ok")

    gated.promote("production")

    assert gated.stages == ["production"]


def test_the_author_cannot_approve(gated):
    """It is refused at once."""
    with pytest.raises(ApprovalError, match="ana@team is the author"):
        gated.approve("production", reason="trust me")


@pytest.mark.parametrize(
    ("again", "author"), [("Bob", "Ana@team"), ("BOB", "ANA@TEAM"), (" bob ", "ana@team ")]
)
def test_one_person_is_one_approval_however_the_name_is_typed(gated, again, author):
    """Neither the author nor who has approved counts once more for a capital letter."""
    as_(gated, "bob").approve("production", reason="ok")

    with pytest.raises(ApprovalError, match="bob has said so"):
        as_(gated, again).approve("production", reason="ok")
    with pytest.raises(ApprovalError, match="ana@team is the author"):
        as_(gated, author).approve("production", reason="ok")


def test_an_approval_that_nobody_asks_for_is_told_as_that(registry):
    """It is no part of a quorum of none."""
    version = saved(registry)
    as_(version, "bob").approve("production", reason="ok")

    assert "pass  no rejection: nobody objects; approved by bob" in str(version.check("production"))


def test_nobody_counts_twice(gated):
    """A second approval of one person is refused."""
    as_(gated, "bob").approve("production", reason="ok")

    with pytest.raises(ApprovalError, match="already"):
        as_(gated, "bob").approve("production", reason="ok")


def test_a_rejection_blocks_until_it_is_withdrawn(gated):
    """By the one who gave it; others cannot, and a quorum does not outvote it."""
    for name in ("bob", "eve"):
        as_(gated, name).approve("production", reason="ok")
    as_(gated, "kim").reject("production", reason="unfair")

    with pytest.raises(GateFailedError, match="rejected by kim"):
        gated.promote("production")
    with pytest.raises(ApprovalError, match="one's own"):
        as_(gated, "lee").withdraw_approval("production", reason="r")
    as_(gated, "kim").withdraw_approval("production", reason="fixed")
    gated.promote("production")


def test_a_rejection_blocks_without_any_policy(registry, bob):
    """Somebody has objected, and that counts; an override passes over it, loudly."""
    version = saved(registry)
    bob.get("churn:1").reject("staging", reason="no")

    with pytest.raises(GateFailedError, match="rejected by bob@team"):
        version.promote("staging")
    assert version.promote("staging", override=True, reason="r").override


def test_the_last_word_of_a_person_counts(gated):
    """An approval after a rejection, and the other way round."""
    as_(gated, "bob").reject("production", reason="no")
    as_(gated, "bob").approve("production", reason="now yes")
    as_(gated, "eve").approve("production", reason="ok")
    as_(gated, "eve").reject("production", reason="wait")

    assert not gated.check("production")
    as_(gated, "eve").approve("production", reason="ok")
    assert gated.check("production")


def test_an_approval_is_used_up_when_the_stage_moves(registry, bob):
    """It was given for this version in place of what was live then."""
    registry.set_policy("production", approvals=1)
    first, second, third = (saved(registry, i) for i in range(3))
    for version in (first, second):
        bob.get(version.ref).approve("production", reason="ok")
    first.promote("production")

    with pytest.raises(GateFailedError, match="0 of 1"):
        second.promote("production")
    bob.get(third.ref).reject("production", reason="no")
    bob.get(second.ref).approve("production", reason="again")
    second.promote("production")
    registry["churn"].rollback("production", reason="r")
    assert "rejected by bob@team" in str(third.check("production"))


def test_an_approval_is_of_one_version_and_one_stage(gated, registry):
    """It says nothing of others."""
    other = saved(registry, 2)
    for name in ("bob", "eve"):
        as_(gated, name).approve("staging", reason="ok")
        as_(other, name).approve("production", reason="ok")

    assert not gated.check("production")
    assert other.check("production")


@pytest.mark.parametrize("act", ["approve", "reject", "withdraw_approval"])
def test_what_is_said_needs_a_reason_a_stage_and_a_version(gated, act):
    """Nothing is written without them."""
    version = as_(gated, "bob")
    say = getattr(version, act)

    for reason in ("", None, 5):
        with pytest.raises(InvalidInputError, match="reason"):
            say("production", reason=reason)
    with pytest.raises(StageNotFoundError):
        say("prod", reason="r")
    gated.delete(reason="erasure")
    with pytest.raises((VersionNotFoundError, ApprovalError)):
        say("production", reason="r")


def test_a_report_has_a_line_for_each_condition(gated):
    """With the numbers, falsy, and as JSON."""
    report = gated.check("production")

    assert not report and not report.passed
    assert [v.gate.kind for v in report.failed] == ["approvals"]
    assert report.subject == "churn:1" and report.stage == "production"
    assert len(report.verdicts) == 4
    assert json.loads(json.dumps(report.to_dict()))["verdicts"][3]["seen"]["approved"] == []
    assert len(mv.Registry(gated._line.home.store.url)["churn"].history()) == 0


def test_changes_of_the_rules_are_told(registry, bob, clock):
    """Who changed which stages and policies when, oldest first."""
    assert registry.policies.history() == []
    assert str(registry.policies) == "no stage has a policy"
    saved(registry)
    registry.set_policy("production", approvals=1)
    bob.set_stages(["staging", "production"], shared=["staging"])
    bob.set_policy("Production")
    registry.set_policy("staging", reason_required=True)

    changes = mv.Registry(registry.url).policies.history()

    assert [change.stage for change in changes] == ["production", None, "production", "staging"]
    assert [change.actor.name for change in changes] == ["ana@team", *["bob@team"] * 2, "ana@team"]
    assert changes[0].policy.approvals == 1
    assert changes[2].policy == Policy()
    assert "stages: staging (shared), production" in str(changes[1])
    assert "policy of production: nothing is asked" in str(changes[2])
    assert [c.time for c in changes] == sorted(c.time for c in changes)
    assert list(registry.policies) == ["staging"]
    assert registry.policies["STAGING"].reason_required
    assert "staging" in repr(registry.policies) and "a reason" in str(registry.policies)


def test_what_is_said_has_no_control_characters(registry):
    """A reason that would move the cursor is printed without that."""
    version = saved(registry)
    version.withdraw(reason="bad\x1b[2J\nlabels")

    assert "bad [2J labels" in str(version.check("production"))
    assert "\x1b" not in str(registry["churn"].history())


def test_the_largest_policy_can_be_judged(registry):
    """Nested as deep and as large as it may be, a promotion with a long reason is recorded."""
    gate = gates.requires([f"tags.{i:0150d}" for i in range(45)])
    for _ in range(6):
        gate = gates.any_of(gate)
    registry.set_policy("production", gates=[gate])
    version = saved(registry)

    decision = version.promote("production", override=True, reason="\N{SNOWMAN}" * 9000)

    assert decision.explain()
    assert registry.verify()
