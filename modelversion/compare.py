"""Versions side by side: the best by each metric in words, what differs, and who is not beaten."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from modelversion._json import decode
from modelversion.differences import directions, metrics
from modelversion.display import (
    Block,
    Cell,
    Facts,
    Note,
    Page,
    Picture,
    Section,
    Shown,
    Table,
    counted,
)
from modelversion.display.plots import dots, intervals, parallel
from modelversion.errors import InvalidInputError
from modelversion.history import History
from modelversion.metrics import change, direction, interval, is_number, is_test, moved
from modelversion.records import VersionRecord

_DRAWN = 60
_FEW = 12
_NAMED = 4


@attrs.frozen(kw_only=True)
class Compared:
    """One of the versions that are compared.

    Attributes:
        ref: Its reference.
        marks: What it is: its stages and aliases, or that it is withdrawn or failed.
        metrics: Metric -> value.
        params: Param -> value.
        directions: Metric -> whether higher is better, None where nothing says it.
        observed: Metric -> what was measured of it in production, with how many samples.
        samples: Metric -> how many samples it was recorded on, where that was said.
        flaw: Withdrawn or failed, if it is; empty otherwise.
        tests: Data that metrics were measured on, by its name: name -> digest.
    """

    ref: str
    marks: str
    metrics: Mapping[str, Any]
    params: Mapping[str, Any]
    directions: Mapping[str, bool | None]
    observed: Mapping[str, Any] = attrs.field(factory=dict)
    samples: Mapping[str, int] = attrs.field(factory=dict)
    flaw: str = ""
    tests: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Comparison(Shown):
    """Versions side by side, of one model or of several.

    Attributes:
        versions: The versions, in the order asked for.
        metrics: The metrics that are compared.
    """

    versions: tuple[Compared, ...]
    metrics: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(version.ref for version in self.versions)}>"

    def best(self, metric: str) -> str | None:
        """Give the reference of the best version by a metric, None where nothing tells."""
        ranked = self._ranked(metric)
        return ranked[0].ref if ranked else None

    def _ranked(self, metric: str) -> list[Compared]:
        higher = self._higher(metric)
        found = [v for v in self.versions if is_number(v.metrics.get(metric))]
        if higher is None:
            return []
        return sorted(found, key=lambda v: v.metrics[metric], reverse=higher)

    def _higher(self, metric: str) -> bool | None:
        said = {v.directions.get(metric, direction(metric)) for v in self.versions}
        known = said - {None}
        return known.pop() if len(known) == 1 else None

    def front(self, one: str, other: str) -> list[str]:
        """Give the versions that no other beats in one of two metrics without losing in the other.

        Args:
            one: A metric with a direction.
            other: Another one.

        Raises:
            InvalidInputError: Nothing says which way one of them is better.
        """
        signs = [self._sign(metric) for metric in (one, other)]
        points = {
            v.ref: tuple(sign * v.metrics[m] for sign, m in zip(signs, (one, other), strict=True))
            for v in self.versions
            if is_number(v.metrics.get(one)) and is_number(v.metrics.get(other))
        }
        return [
            ref for ref, own in points.items() if not any(_beats(p, own) for p in points.values())
        ]

    def _sign(self, metric: str) -> int:
        higher = self._higher(metric)
        if higher is None:
            raise InvalidInputError(
                f"which way {metric!r} is better was not recorded; log it as "
                "mv.metric(value, higher_is_better=...)"
            )
        return 1 if higher else -1

    def _page(self) -> Page:
        refs = [v.ref for v in self.versions]
        return Page(
            listed(refs) if len(refs) <= _NAMED else f"{', '.join(refs[:_NAMED])}, ...",
            f"{len(self.versions)} versions side by side",
            blocks=[
                _tested(self.versions),
                Facts({f"best {m}": _in_words(self, m) for m in self.metrics}),
                _table(self),
                Section("Observed in production", [_observed(self)]),
                *_pictures(self),
            ],
        )


def compared(history: History, number: int, record: VersionRecord) -> Compared:
    """Give a version as one of those that are compared."""
    bad = ["withdrawn"] if number in history.decisions.withdrawn else []
    bad += ["failed"] if record.failed else []
    tested = (item for item in record.data if item.digest and is_test(item.name))
    seen = history.observed(number).items()
    return Compared(
        ref=history.line.ref(number),
        marks=", ".join([*history.names(number), *bad]),
        metrics=metrics(record),
        params=decode(record.params),
        directions=directions(record),
        observed={name: (decode(found.value), found.n) for name, found in seen},
        samples={name: m.n for name, m in record.metrics.items() if m.n is not None},
        flaw=" and ".join(bad),
        tests={item.name: item.digest for item in tested if item.digest},
    )


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


def compare(versions: Sequence[Compared], metrics: Sequence[str] | None) -> Comparison:
    """Put versions side by side.

    Raises:
        InvalidInputError: There are fewer than two, or a metric that none has.
    """
    distinct = {version.ref: version for version in versions}
    if len(distinct) < 2:
        raise InvalidInputError(
            f"compare takes at least two versions, found {', '.join(distinct) or 'none'}; "
            'such as churn.compare(3, 4, "champion")'
        )
    known = dict.fromkeys(name for version in versions for name in version.metrics)
    for name in metrics or ():
        if name not in known:
            raise InvalidInputError(f"no version has {name!r}; metrics: {', '.join(known)}")
    return Comparison(versions=tuple(distinct.values()), metrics=tuple(metrics or known))


# ---- what is shown -------------------------------------------------------------------------------


def listed(names: Sequence[str]) -> str:
    """Give names in words.

    >>> listed(["a:1"]), listed(["a:1", "a:2", "b:1"])
    ('a:1', 'a:1, a:2 and b:1')
    """
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _tested(versions: Sequence[Compared]) -> Note | None:
    """Warn where metrics were measured on data of the same name that are not the same."""
    names = sorted({name for version in versions for name in version.tests})
    differ = [n for n in names if len({v.tests[n] for v in versions if n in v.tests}) > 1]
    if not differ:
        return None
    said = f"{listed(differ)} {'are' if len(differ) > 1 else 'is'} not the same data in all of them"
    return Note(f"{said}; evaluate scores them on the same", "warn")


def _in_words(comparison: Comparison, metric: str) -> str:
    ranked = comparison._ranked(metric)
    if not ranked:
        return "which way is better was not recorded" if comparison._higher(metric) is None else ""
    points = [(_flawed(v), v.metrics[metric]) for v in ranked]
    return best_in_words(points, higher=comparison._higher(metric))


def _flawed(version: Compared) -> str:
    return f"{version.ref} ({version.flaw})" if version.flaw else version.ref


def best_in_words(ranked: Sequence[tuple[str, Any]], *, higher: bool | None) -> str:
    """Tell who is best of some that are in order, and by how much."""
    (top, value), *others = ranked
    level = [name for name, other in ranked if other == value]
    if len(level) > 1:
        return f"{listed(level)} are level with {value:.6g}"
    said = f"{top} with {value:.6g}"
    if not others:
        return f"{said}, the only one that has it"
    second, other = others[0]
    by, _ = change(value - other, higher)
    return f"{said}, {by} than {second}"


def _table(comparison: Comparison) -> Table:
    params = _differing(comparison.versions)
    first = comparison.versions[0]
    rows = [
        [
            v.ref,
            v.marks,
            *(_against(comparison, first, v, m) for m in comparison.metrics),
            *(v.params.get(name) for name in params),
        ]
        for v in comparison.versions
    ]
    names = [name if name not in comparison.metrics else f"param {name}" for name in params]
    return Table("versions", ["version", "is", *comparison.metrics, *names], rows=rows)


def _differing(versions: Sequence[Compared]) -> list[str]:
    names = dict.fromkeys(name for version in versions for name in version.params)
    return [n for n in names if len({repr(v.params.get(n, compare)) for v in versions}) > 1]


def _against(comparison: Comparison, first: Compared, version: Compared, metric: str) -> Any:
    value = version.metrics.get(metric)
    by = moved(first.metrics.get(metric), value, higher=comparison._higher(metric))
    if version is first or by.value is None:
        return value
    return Cell(value, f"{value:.6g}", below=by.text or "", tone=by.tone)


def _moved(comparison: Comparison, metric: str, before: Any, after: Any) -> Cell:
    if not (is_number(before) and is_number(after)):
        return Cell(None)
    said, tone = change(after - before, comparison._higher(metric))
    return Cell(after - before, said, tone=tone)


def _observed(comparison: Comparison) -> Table:
    rows = []
    for version in comparison.versions:
        for name, (value, n) in version.observed.items():
            recorded = version.metrics.get(name)
            by = moved(recorded, value, higher=comparison._higher(name))
            rows.append((version.ref, name, recorded, value, by, n))
    columns = ("version", "metric", "recorded", "observed", "change", "n")
    return Table("observed", columns, rows=rows)


def _pictures(comparison: Comparison) -> list[Block]:
    directed = [m for m in comparison.metrics if comparison._higher(m) is not None]
    found: list[Block | None] = []
    if len(comparison.versions) <= _FEW:
        # Those first whose intervals are known.
        dotted = filter(None, (_dots(comparison, metric) for metric in directed))
        found += sorted(dotted, key=lambda drawn: len(drawn.data.columns), reverse=True)[:2]
    if len(directed) > 1:
        found.append(_front(comparison, *directed[:2]))
    params = _differing(comparison.versions)
    if params:
        found.append(_parallel(comparison, params[:6]))
    return [block for block in found if block is not None]


def _dots(comparison: Comparison, metric: str) -> Picture | None:
    """Draw a metric of each version, what production measured of it below it."""
    rows = []
    for version in comparison.versions:
        found = {version.ref: (version.metrics.get(metric), version.samples.get(metric))}
        if metric in version.observed:
            found[f"{version.ref} observed"] = version.observed[metric]
        rows += [dotted(ref, metric, value, n) for ref, (value, n) in found.items()]
    return metric_picture(metric, rows)


Dotted = tuple[str, Any, float | None, float | None, int | None]


def dotted(ref: str, metric: str, value: Any, n: int | None) -> Dotted:
    """Give a row of a plot of a metric: name, value, the ends of its interval, samples."""
    low, high = interval(metric, value, n) or (None, None)
    return ref, value, low, high, n


def metric_picture(metric: str, rows: Sequence[Dotted]) -> Picture | None:
    """Draw a metric as dots, with 95 % intervals where they are known."""
    kept = [row for row in rows if is_number(row[1])]
    if len(kept) < 2:
        return None
    known = any(low is not None for _, _, low, _, _ in kept)
    columns = (metric, "low", "high", "n") if known else (metric,)
    told = f"{metric} of {len(kept)}" + (", with 95 % intervals" if known else "")
    return Picture(
        metric,
        intervals([(ref, value, low, high) for ref, value, low, high, _ in kept]),
        kind="intervals",
        alt=told,
        data=Table(metric, ("version", *columns), rows=[row[: len(columns) + 1] for row in kept]),
    )


def _front(comparison: Comparison, one: str, other: str) -> Picture | None:
    front = comparison.front(one, other)
    rows = [
        (v.ref, v.metrics[one], v.metrics[other], v.ref in front)
        for v in comparison.versions[:_DRAWN]
        if is_number(v.metrics.get(one)) and is_number(v.metrics.get(other))
    ]
    if len(rows) < 2:
        return None
    names = ", ".join(front[:8])
    return Picture(
        f"{one} against {other}",
        dots([(ref, x, y, best) for ref, x, y, best in rows], axes=(one, other)),
        kind="dots",
        alt=f"{one} against {other}; not beaten in both: {names}",
        data=Table("points", ("version", one, other, "not beaten"), rows=rows),
    )


def _parallel(comparison: Comparison, params: Sequence[str]) -> Picture:
    metrics = comparison.metrics[:2]
    axes = [*params, *metrics]
    rows = [
        (v.ref, *map(v.params.get, params), *map(v.metrics.get, metrics))
        for v in comparison.versions[:_DRAWN]
    ]
    return Picture(
        "Params",
        parallel(rows, axes=axes),
        kind="parallel",
        alt=f"a line for each version through {', '.join(axes)}",
        data=Table("params", ("version", *axes), rows=rows),
    )


# ---- on one data set -----------------------------------------------------------------------------

Scorer = Callable[[Any, Any, Any], Any]


@attrs.frozen(kw_only=True)
class Evaluation(Shown):
    """What scorers say of several versions on one data set.

    Attributes:
        scores: Reference -> metric -> value.
        rows: How many rows the data set has, None where it does not tell.
        directions: Metric -> whether higher is better, None where nothing says it.
    """

    scores: dict[str, dict[str, Any]]
    rows: int | None
    directions: Mapping[str, bool | None] = attrs.field(factory=dict)

    def __repr__(self) -> str:
        return f"<Evaluation of {', '.join(self.scores)}>"

    def _page(self) -> Page:
        names = list(dict.fromkeys(name for found in self.scores.values() for name in found))
        rows = [(ref, *(found.get(name) for name in names)) for ref, found in self.scores.items()]
        says = "" if self.rows is None else f"on {counted(self.rows, 'row')}"
        best = Facts({f"best {name}": self._best(name) for name in names})
        table = Table("scores", ("version", *names), rows=rows)
        drawn = (self._picture(name) for name in names[:4])
        return Page("evaluation", says, blocks=[best, table, *drawn])

    def _best(self, metric: str) -> str:
        higher = self.directions.get(metric)
        found = [(ref, s[metric]) for ref, s in self.scores.items() if is_number(s.get(metric))]
        if higher is None or len(self.scores) < 2 or not found:
            return ""
        found.sort(key=lambda scored: scored[1], reverse=higher)
        return best_in_words(found, higher=higher)

    def _picture(self, metric: str) -> Picture | None:
        rows = [dotted(r, metric, s.get(metric), self.rows) for r, s in self.scores.items()]
        return metric_picture(metric, rows[:_DRAWN])


def evaluate(loads: Mapping[str, Callable[[], Any]], X: Any, y: Any, *, scorer: Any) -> Evaluation:
    """Load versions one after the other and score each on the same data."""
    scorers = _scorers(scorer)
    scores: dict[str, dict[str, Any]] = {}
    for ref, load in loads.items():
        model = load()
        scores[ref] = {name: _score(score, model, X, y, of=ref) for name, score in scorers.items()}
    rows = len(y) if hasattr(y, "__len__") else None
    higher = {name: _direction(name, score) for name, score in scorers.items()}
    return Evaluation(scores=scores, rows=rows, directions=higher)


def _score(score: Scorer, model: Any, X: Any, y: Any, *, of: str) -> Any:
    try:
        return score(model, X, y)
    except Exception as error:
        # Any error of the user's scorer or model goes on as it is; which version it was is news.
        error.add_note(f"when {of} was scored")
        raise


def _direction(name: str, scorer: Scorer) -> bool | None:
    # Of scikit-learn's own, errors too, a higher score is the better one.
    own = type(scorer).__module__.startswith("sklearn.metrics")
    return True if own else direction(name)


def _scorers(scorer: Any) -> dict[str, Scorer]:
    """Give scorers by name: of a callable, of names that scikit-learn knows, or of a dict."""
    if isinstance(scorer, Mapping):
        return {str(name): _scorer(one) for name, one in scorer.items()}
    if isinstance(scorer, (list, tuple)):
        return {name: _scorer(name) for name in scorer}
    return {scorer if isinstance(scorer, str) else _name(scorer): _scorer(scorer)}


def _name(scorer: Any) -> str:
    return str(getattr(scorer, "__name__", "score")).strip("<>")


def _scorer(scorer: Any) -> Scorer:
    if isinstance(scorer, str):
        from sklearn.metrics import get_scorer

        found: Scorer = get_scorer(scorer)
        return found
    if not callable(scorer):
        raise InvalidInputError(
            f"scorer must be a function of (model, X, y), a name that scikit-learn knows, or a "
            f"dict or list of these; found {type(scorer).__name__}"
        )
    given: Scorer = scorer
    return given
