"""The `where` and `order_by` strings."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelversion.errors import QueryError
from modelversion.query import (
    FIELDS,
    MAX_DEPTH,
    MAX_LENGTH,
    MISSING,
    Comparison,
    Conjunction,
    Disjunction,
    Negation,
    Order,
    parse_order_by,
    parse_where,
    sort_rows,
)

VERSION = {
    ("number",): 3,
    ("created_at",): "2026-11-01T12:30:00.250000Z",
    ("actor",): "ana@team",
    ("description",): "it's 100% of a_b\nand more",
    ("alias",): ("staging", "production"),
    ("withdrawn",): False,
    ("params", "none"): (),
    ("type",): None,
    ("metrics", "auc"): 0.9,
    ("metrics", "nan"): math.nan,
    ("metrics", "inf"): math.inf,
    ("params", "opt/lr"): 0.1,
    ("params", "a`b"): 1,
    ("params", "opt", "in"): "adam",
    ("params", "C"): 1,
    ("params", "flag"): True,
    ("params", "layers"): [64, 32, "x", None, [1], {"y": 1}],
    ("params", "nested"): {"a": 1},
    ("params", "größe"): 7,
    ("tags", "team"): "risk",
    ("data", "train", "digest"): "sha256:9f3c",
}


def lookup_in(fields):
    return lambda path: fields.get(path, MISSING)


def holds(text, fields=VERSION):
    return parse_where(text).matches(lookup_in(fields))


def refusal(text, parse=parse_where):
    with pytest.raises(QueryError) as caught:
        parse(text)
    return str(caught.value)


def caret(message):
    """Give the text that begins where the caret of an error stands."""
    shown, pointer = message.split("\n")[-2:]
    return shown[pointer.index("^") :]


# --- Operators


@pytest.mark.parametrize(
    "text",
    [
        "metrics.auc = 0.9",
        "metrics.auc == .9",
        "metrics.auc == 9e-1",
        "metrics.auc == +0.9",
        "metrics.auc != 1",
        "metrics.auc <> 1",
        "metrics.auc < 0.91",
        "metrics.auc <= 0.9",
        "metrics.auc > -1",
        "metrics.auc > -1.5E+3",
        "metrics.auc >= 0.9",
        "metrics.auc>=0.9",
        "number = 3.0",
        "number = 3.",
        "number in (1, 2, 3)",
        "number in (3)",
        "number in (3.0, 'x')",
        "number not in (1, 2)",
        "number between 3 and 4",
        "number between 2 and 3",
        "number not between 4 and 5",
        "metrics.inf > 1e300",
        "tags.team = 'risk'",
        'tags.team = "risk"',
        "tags.team > 'ris'",
        "tags.team between 'a' and 'z'",
        "tags.team like 'r%'",
        "tags.team not like 'R%'",
        "params.flag = true",
        "params.flag != false",
        "withdrawn = FALSE",
        "params.flag in (false, true)",
        "type is null",
        "type = null",
        "type in (null, 'x')",
        "tags.team is not null",
        "tags.team != null",
        "tags.team not in (null)",
    ],
)
def test_each_operator_holds_for_a_value_that_meets_it(text):
    """Every spelling of every operator is true for a value that meets it."""
    assert holds(text)


@pytest.mark.parametrize(
    "text",
    [
        "metrics.auc = 0.91",
        "metrics.auc != 0.9",
        "metrics.auc <> 0.9",
        "metrics.auc < 0.9",
        "metrics.auc <= 0.89",
        "metrics.auc > 0.9",
        "metrics.auc >= 0.91",
        "number in (1, 2)",
        "number not in (3)",
        "number between 4 and 5",
        "number between 4 and 2",
        "number not between 1 and 3",
        "tags.team like 'isk'",
        "tags.team not like '%'",
        "type is not null",
        "type != null",
        "tags.team is null",
        "tags.team = null",
    ],
)
def test_each_operator_fails_for_a_value_that_does_not_meet_it(text):
    """Every operator is false for a value that does not meet it."""
    assert not holds(text)


def test_keywords_may_be_in_any_case():
    """Upper-case SQL reads like lower-case SQL."""
    text = "NOT number IN (1) AND type IS NULL Or number Between 1 And 2"

    assert parse_where(text).tree == parse_where(text.lower()).tree


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("it''s%", True),
        ("%of%more", True),
        ("%of%more%", True),
        ("%100\\%%", True),
        ("%100\\_%", False),
        ("%a\\_b%", True),
        ("%a_b%", True),
        ("%a__b%", False),
        ("%", True),
        ("%%", True),
        ("", False),
        ("IT%", False),
        ("%b\nand%", True),
        ("%b_and%", True),
        ("%more%of%", False),
        ("%.%", False),
        ("%e", True),
        ("more", False),
    ],
)
def test_like_knows_percent_underscore_and_backslash(pattern, matches):
    """A like pattern matches the whole text, case and newlines included."""
    assert holds(f"description like '{pattern}'") is matches


def test_like_takes_any_number_of_percents_in_little_time():
    """A pattern of many wildcards does not try every way to share the text out."""
    where = parse_where(f"description like '{'%a' * 2_000}%b'")
    start = time.perf_counter()

    assert not where.matches(lambda _: "a" * 20_000)
    assert time.perf_counter() - start < 2


# --- Precedence


def test_and_binds_tighter_than_or_and_not_tighter_than_and():
    """The tree follows the precedence of SQL."""
    tree = parse_where("number = 1 or not number = 2 and number = 3").tree
    one, two, three = (
        Comparison(path=("number",), operator="in", operands=(n,)) for n in (1, 2, 3)
    )

    assert tree == Disjunction(nodes=(one, Conjunction(nodes=(Negation(node=two), three))))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("number = 3 or number = 3 and number = 1", True),
        ("(number = 3 or number = 3) and number = 1", False),
        ("not number = 1 and number = 1", False),
        ("not (number = 1 and number = 1)", True),
        ("not not number = 3", True),
        ("((number = 3))", True),
        ("number between 1 and 3 and number = 1", False),
        ("not number between 1 and 3 or number = 3", True),
    ],
)
def test_parentheses_change_the_precedence(text, expected):
    """Parentheses group, and the and of a between is its own."""
    assert holds(text) is expected


# --- Missing values and types


@pytest.mark.parametrize("field", ["metrics.absent", "type", "params.none"])
@pytest.mark.parametrize(
    "test",
    ["= 1", "= 'x'", "< 1", "<= 1", "> 1", ">= 1", "in (1, 2)", "like '%'", "between 0 and 9"],
)
def test_comparison_without_a_value_is_false_and_its_negation_true(field, test):
    """A missing, null or empty field meets no comparison, and not is the plain opposite."""
    assert not holds(f"{field} {test}")
    assert holds(f"not {field} {test}")
    assert holds(f"not ({field} {test})")


@pytest.mark.parametrize(
    "text",
    ["alias != 'production'", "alias not in ('production')", "alias not like 'p%'"],
)
def test_negated_comparison_includes_what_has_no_value(text):
    """A version without an alias is one whose alias is not production."""
    assert holds(text, {})
    assert holds(text, {("alias",): None})
    assert holds(text, {("alias",): ()})
    assert not holds(f"{text} and alias is not null", {})


@pytest.mark.parametrize(
    ("field", "null"),
    [
        ("metrics.absent", True),
        ("type", True),
        ("params.none", True),
        ("metrics.nan", False),
        ("withdrawn", False),
        ("params.nested", False),
    ],
)
def test_null_is_missing_none_or_empty(field, null):
    """Only a field without a value is null; NaN, false and a dict are values."""
    assert holds(f"{field} is null") is null
    assert holds(f"{field} is not null") is not null


@pytest.mark.parametrize(
    "text",
    [
        "params.flag = 1",
        "params.flag in (1, 1.0)",
        "params.flag >= 0",
        "params.flag between 0 and 2",
        "params.flag = 'true'",
        "params.C = true",
        "params.C in (true)",
        "params.C = '1'",
        "params.C < '2'",
        "params.C like '1'",
        "tags.team > 0",
        "tags.team between 0 and 'z'",
        "params.nested = 1",
        "params.nested < 1",
        "params.nested like '%'",
        "params.nested in (1, null)",
        "metrics.nan = 0",
        "metrics.nan < 1",
        "metrics.nan >= 1",
        "metrics.nan between 0 and 1",
    ],
)
def test_types_do_not_mix_and_nan_equals_nothing(text):
    """A comparison across types or with NaN is false, never an error."""
    assert not holds(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("alias = 'production'", True),
        ("alias != 'production'", False),
        ("alias != 'development'", True),
        ("alias like 'sta%'", True),
        ("params.layers = 32", True),
        ("params.layers > 64", False),
        ("params.layers between 40 and 50", False),
        ("params.layers = 'x'", True),
        ("params.layers is null", False),
    ],
)
def test_field_of_several_values_compares_as_any_of_them(text, expected):
    """A tuple of aliases or a list among the params is true when one of its items is."""
    assert holds(text) is expected


# --- created_at


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("= '2026-11-01'", True),
        ("= '2026'", True),
        ("= '2026-10'", False),
        ("!= '2026-11-01'", False),
        ("<= '2026-11-01'", True),
        (">= '2026-11-01'", True),
        ("< '2026-11-01'", False),
        ("> '2026-11-01'", False),
        ("> '2026-10-31'", True),
        ("< '2026-12'", True),
        ("between '2026-10-01' and '2026-11-01'", True),
        ("in ('2026-10-31', '2026-11-01')", True),
        ("in (null, '2026-10-31')", False),
        ("= '2026-11-01T12:30'", True),
        ("= '2026-11-01 12:30:00'", True),
        ("> '2026-11-01T12:29:59Z'", True),
        ("= '2026-11-01T12:30:00.25Z'", True),
        ("= '2026-11-01T12:30:00.250000000Z'", True),
        ("< '2026-11-01T12:30:00.3Z'", True),
        ("= '2026-11-01T14:30:00+02:00'", True),
        ("< '2026-11-01T12:30:00+02:00'", False),
        ("= '2026-10-31T22:30-14:00'", True),
        ("like '2026-11-%'", True),
        ("is null", False),
        ("is not null", True),
    ],
)
def test_created_at_compares_at_the_precision_of_the_literal(text, expected):
    """A date stands for its whole day, a month for its whole month, in UTC."""
    assert holds(f"created_at {text}") is expected


def test_created_at_without_a_fraction_comes_before_one_with():
    """The Z at the end does not count, though it sorts after the point."""
    fields = {("created_at",): "2026-11-01T12:00:00Z"}

    assert holds("created_at < '2026-11-01T12:00:00.5Z'", fields)
    assert holds("created_at = '2026-11-01T12:00:00.000Z'", fields)


def test_created_at_that_is_no_text_meets_no_comparison():
    """A value of another type is unequal, not an error."""
    assert not holds("created_at = '2026'", {("created_at",): 2026})


@pytest.mark.parametrize(
    "literal",
    [
        "5",
        "true",
        "'yesterday'",
        "'2026-13'",
        "'2026-02-30'",
        "'2026-11-01T25:00'",
        "'26-11-01'",
        "'2026-11-01Z'",
        "''",
        "'0001-01-01T00:00+05:00'",
    ],
)
def test_created_at_refuses_what_is_no_date(literal):
    """A literal that cannot be a date is refused instead of never matching."""
    message = refusal(f"created_at = {literal}")

    assert "such as '2026-11-01'" in message
    assert caret(message) == literal


# --- Paths, names and quoting


@pytest.mark.parametrize(
    "text",
    [
        "params.`opt/lr` < 1",
        "params.`a``b` = 1",
        "params.opt.in = 'adam'",
        "params.`opt`.`in` = 'adam'",
        "`params`.C = 1",
        "params.größe = 7",
        "data.train.digest like 'sha256:%'",
        "\n number\t=\r\n3 ",
    ],
)
def test_names_are_identifiers_or_backquoted(text):
    """Keywords after a dot, letters of any script and backquoted names are names."""
    assert holds(text)


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("'it''s'", "it's"),
        ('"it\'s"', "it's"),
        ('"a ""b"""', 'a "b"'),
        ("''", ""),
        ("'a\\n'", "a\\n"),
        ("'and'", "and"),
        ("1", 1),
        ("-7", -7),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("true", True),
        ("Null", None),
    ],
)
def test_literals_keep_their_value_and_type(literal, value):
    """A doubled quote stands for one, a backslash for itself."""
    (operand,) = parse_where(f"tags.x = {literal}").tree.operands

    assert operand == value
    assert type(operand) is type(value)


def test_whole_numbers_stay_exact():
    """An integer beyond the floats is not rounded."""
    assert holds("number = 9007199254740993", {("number",): 2**53 + 1})
    assert not holds("number = 9007199254740992", {("number",): 2**53 + 1})


def test_paths_are_every_field_that_is_read():
    """The paths of a where name each field once, however deep it stands."""
    where = parse_where("not (metrics.auc > 1 or tags.`a.b` is null) and metrics.auc < 2")

    assert where.paths == {("metrics", "auc"), ("tags", "a.b")}


def test_every_known_field_is_read():
    """Plain fields stand alone, namespaces take a name."""
    texts = [f"{field}.x" if FIELDS[field] else field for field in FIELDS]

    assert [parse_where(f"{text} is null").text[: len(text)] for text in texts] == texts


def test_where_is_a_value():
    """Two parses of one text are equal, hash alike and print the text."""
    where = parse_where("number = 3")

    assert where == parse_where("number = 3")
    assert hash(where) == hash(parse_where("number = 3"))
    assert repr(where) == "Where(text='number = 3')"


# --- Errors


@pytest.mark.parametrize(
    ("text", "message", "at"),
    [
        ("metricz.auc > 1", "no field 'metricz'; did you mean 'metrics'?", "metricz.auc > 1"),
        ("number = 1 or Alias = 'a'", "did you mean 'alias'?", "Alias = 'a'"),
        ("qqq > 1", "fields: actor, alias, created_at, data.*, description, metrics.*", "qqq > 1"),
        ("metrics > 1", "metrics wants a name after a dot", "metrics > 1"),
        ("number.x > 1", "number has no fields of its own", "number.x > 1"),
        ("tags.team = risk", "text goes in quotes: 'risk'", "risk"),
        ("tags.team = 'risk", "the quote ' is not closed", "'risk"),
        ("tags.team = 'a''b", "the quote ' is not closed", "'a''b"),
        ('tags.team = "risk', 'the quote " is not closed', '"risk'),
        ("params.`a = 1", "goes in backquotes", ".`a = 1"),
        ("`params = 1", "the quote ` is not closed", "`params = 1"),
        ("params.opt/lr < 1", "goes in backquotes", "/lr < 1"),
        ("params.opt-lr < 1", "goes in backquotes", "-lr < 1"),
        ("params.layer.0 = 1", "goes in backquotes", ".0 = 1"),
        ("params.0 = 1", "goes in backquotes", "params.0 = 1"),
        ("number", "found the end, wanted one of =", ""),
        ("number =", "found the end, wanted a number", ""),
        ("number = 1 and", "found the end, wanted a field", ""),
        ("number = 1 number", "found 'number', wanted 'and', 'or' or the end", "number"),
        ("number = 1)", "found ')', wanted 'and', 'or' or the end", ")"),
        ("(number = 1", "found the end, wanted 'and', 'or' or ')'", ""),
        ("()", "found ')', wanted a field", ")"),
        ("0.9 < metrics.auc", "found '0.9', wanted a field", "0.9 < metrics.auc"),
        ("number = metrics.auc", "found 'metrics.auc', wanted a literal", "metrics.auc"),
        ("number = (1)", "found '(', wanted a number", "(1)"),
        ("number in ()", "found ')', wanted a number", ")"),
        ("number in 1", "found '1', wanted '('", "1"),
        ("number in (1 2)", "found '2', wanted ',' or ')'", "2)"),
        ("number in (1,)", "found ')', wanted a number", ")"),
        ("number not 1", "found '1', wanted one of in, like, between", "1"),
        ("number not = 1", "found '=', wanted one of in, like, between", "= 1"),
        ("number is 1", "found '1', wanted 'null'", "1"),
        ("number is not", "found the end, wanted 'null'", ""),
        ("actor like 5", "wanted a quoted pattern after actor like", "5"),
        ("number between 1", "found the end, wanted 'and'", ""),
        ("number between 1 or 2", "found 'or', wanted 'and'", "or 2"),
        ("number < null", "found 'null', wanted a number or text", "null"),
        ("number >= TRUE", "found 'true', wanted a number or text", "TRUE"),
        ("number between null and 1", "found 'null', wanted a number or text", "null and 1"),
        ("number = 1_000", "cannot read this number", "1_000"),
        ("number = 1.2.3", "cannot read this number", "1.2.3"),
        ("number = 0x1f", "cannot read this number", "0x1f"),
        ("number = - 1", "found '-', wanted a number", "- 1"),
        ("number = 1 & number = 2", "cannot read '&' here", "& number = 2"),
        ("number === 1", "found '=', wanted a number", "= 1"),
        ("and", "found 'and', wanted a field", "and"),
        ("number = " + "9" * 5_000, "a number of 5,000 digits is too long", "9" * 40),
    ],
)
def test_error_says_what_and_points_there(text, message, at):
    """An error names what was found and wanted, and its caret stands under the place."""
    found = refusal(text)

    assert found.startswith("where: ")
    assert message in found
    assert caret(found) == at


@pytest.mark.parametrize("text", ["", "  \n "])
def test_empty_where_is_refused(text):
    """An empty condition is more likely a mistake than a wish for everything."""
    assert "where: empty; leave it out" in refusal(text)


@pytest.mark.parametrize("value", [None, 5, b"number = 1", ["number = 1"]])
def test_where_that_is_no_text_is_refused(value):
    """The error names the type that was given."""
    assert f"found the type {type(value).__name__}, wanted a string" in refusal(value)


def test_error_stays_on_one_line_and_short():
    """A long query of several lines is cut around the place, controls shown as spaces."""
    message = refusal("number = 1 and\n\t" * 50 + "\x1b bad" + "x" * 5_000)
    shown, pointer = message.split("\n")[1:]

    assert "\x1b" not in message
    assert len(shown) < 100
    assert shown[pointer.index("^")] == " "


def test_long_names_are_cut_in_messages():
    """A name of thousands of letters does not fill the screen."""
    assert len(refusal("x" * 9_000)) < 500


def test_longest_text_is_read_and_a_longer_one_refused():
    """The cap on the length is exact."""
    head, tail = "tags.x = '", "'"
    longest = head + "a" * (MAX_LENGTH - len(head) - len(tail)) + tail

    assert parse_where(longest).text == longest
    assert "10,001 characters; at most 10,000" in refusal(longest + " ")


@pytest.mark.parametrize(("opening", "closing"), [("(", ")"), ("not ", ""), ("not(", ")")])
def test_deepest_nesting_is_read_and_a_deeper_one_refused(opening, closing):
    """The cap on the depth is exact and comes as our own error."""
    levels = MAX_DEPTH // (2 if opening == "not(" else 1)
    deepest = opening * levels + "number = 3" + closing * levels
    message = refusal(opening + deepest + closing)

    assert holds(deepest)
    assert "nested more than 100 deep; write it flatter" in message


def test_deepest_tree_of_and_and_or_is_evaluated():
    """A hundred levels that are all needed run without a RecursionError."""
    text = "(number = 2 or " * 99 + "number = 3" + " and number = 3)" * 99

    assert holds(text)


def test_long_flat_conditions_are_not_nesting():
    """Hundreds of terms side by side are read."""
    assert holds(" and ".join(["number = 3"] * 600))
    assert holds("(number = 3) or " * 500 + "number = 3")


def test_query_error_is_a_value_error():
    """Code that knows nothing of modelversion catches it as the builtin."""
    with pytest.raises(ValueError, match="where"):
        parse_where("number")


FRAGMENTS = st.sampled_from(
    [
        *("number", "metrics.auc", "params.`a/b`", "created_at", "x", "and", "or", "not", "in"),
        *("like", "is", "null", "true", "between", "(", ")", ",", "=", "<", ">=", "!=", "-", "."),
        *("1", "-2.5", "1e9", "'a'", '"b"', "'", "`", '"', "'2026-11-01'", "'%a_'", "\\", "é", " "),
    ]
)
TEXTS = st.one_of(
    st.text(),
    st.lists(FRAGMENTS, max_size=12).map(" ".join),
    st.lists(FRAGMENTS, max_size=12).map("".join),
)


@given(TEXTS)
def test_any_text_is_read_or_refused_as_a_where(text):
    """Whatever the text, it parses and evaluates or raises QueryError, nothing else."""
    try:
        where = parse_where(text)
    except QueryError as error:
        assert error.args[0].count("\n") == 2
    else:
        assert where.matches(lookup_in(VERSION)) in (True, False)
        assert where.matches(lookup_in({})) in (True, False)


@given(TEXTS)
def test_any_text_is_read_or_refused_as_an_order(text):
    """Whatever the text, it is a list of orders or raises QueryError, nothing else."""
    try:
        orders = parse_order_by(text)
    except QueryError as error:
        assert error.args[0].count("\n") == 2
    else:
        assert orders


# --- Against a naive evaluator

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(-3, 3).map(lambda value: round(value, 1)),
    st.sampled_from([math.nan, math.inf]),
    st.text("ab%", max_size=3),
)
VALUES = st.one_of(
    SCALARS, st.just(MISSING), st.lists(SCALARS, max_size=3), st.just({"a": 1}), st.just([[1]])
)
LITERALS = SCALARS.filter(lambda value: value is not None and value not in (math.inf,)).filter(
    lambda value: value == value
)
ORDERED = LITERALS.filter(lambda value: not isinstance(value, bool))
NAMES = st.sampled_from(["a", "b/c", "d`e"])


def written(value):
    if isinstance(value, bool):
        return str(value).lower()
    return "'" + value + "'" if isinstance(value, str) else repr(value)


def family(value):
    if isinstance(value, bool):
        return "bool"
    return {int: "number", float: "number", str: "text"}.get(type(value))


def naive(value, check):
    values = value if isinstance(value, list) else [value]
    return any(check(item) for item in values)


def comparable(item, literal):
    return family(item) is not None and family(item) == family(literal)


@st.composite
def comparisons(draw):
    """Give a comparison as its text and as a plain function of the fields."""
    name = draw(NAMES)
    field = "params.`" + name.replace("`", "``") + "`"
    kind = draw(st.sampled_from(["null", "=", "!=", "<", "<=", ">", ">=", "in", "between"]))
    negated = draw(st.booleans())
    word = "not " if negated else ""

    def of(check):
        return lambda fields: naive(fields[name], check)

    if kind == "null":
        text = f"{field} is {word}null"
        plain = lambda fields: any(fields[name] is x for x in (None, MISSING)) or fields[name] == []  # noqa: E731
    elif kind == "in":
        literals = draw(st.lists(LITERALS, min_size=1, max_size=3))
        text = f"{field} {word}in ({', '.join(map(written, literals))})"
        plain = of(lambda item: any(comparable(item, x) and item == x for x in literals))
    elif kind == "between":
        low, high = draw(ORDERED), draw(ORDERED)
        text = f"{field} {word}between {written(low)} and {written(high)}"
        plain = of(lambda i: comparable(i, low) and comparable(i, high) and low <= i <= high)
    else:
        literal = draw(LITERALS if kind in ("=", "!=") else ORDERED)
        text = f"{word}{field} {kind} {written(literal)}"
        compare = {
            "=": lambda item: item == literal,
            "!=": lambda item: item == literal,
            "<": lambda item: item < literal,
            "<=": lambda item: item <= literal,
            ">": lambda item: item > literal,
            ">=": lambda item: item >= literal,
        }[kind]
        plain = of(lambda item: comparable(item, literal) and compare(item))
        negated = negated != (kind == "!=")
    return text, (lambda fields: not plain(fields)) if negated else plain


def negation(pair):
    text, plain = pair
    return f"not ({text})", lambda fields: not plain(fields)


def junction(word, combine):
    def build(pairs):
        text = f" {word} ".join(f"({text})" for text, _ in pairs)
        return text, lambda fields: combine([plain(fields) for _, plain in pairs])

    return build


CONDITIONS = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        inner.map(negation),
        st.lists(inner, min_size=1, max_size=3).map(junction("and", all)),
        st.lists(inner, min_size=1, max_size=3).map(junction("or", any)),
    ),
    max_leaves=8,
)


@given(CONDITIONS, st.fixed_dictionaries({"a": VALUES, "b/c": VALUES, "d`e": VALUES}))
def test_compiled_condition_agrees_with_a_naive_one(condition, fields):
    """The closures give what the same condition gives when it is evaluated term by term."""
    text, plain = condition

    assert parse_where(text).matches(lambda path: fields[path[1]]) is plain(fields)


@given(st.text("ab%_.\n", max_size=8), st.text("ab.\n", max_size=8))
def test_like_agrees_with_a_naive_matcher(pattern, text):
    """A like pattern matches exactly what a character by character matcher matches."""

    def matches(p, t):
        if not p:
            return not t
        if p[0] == "%":
            return matches(p[1:], t) or (bool(t) and matches(p, t[1:]))
        return bool(t) and p[0] in ("_", t[0]) and matches(p[1:], t[1:])

    where = parse_where(f"actor like '{pattern}'")

    assert where.matches(lambda _: text) is matches(pattern, text)


# --- Order


def ordered(values, text, field=("metrics", "auc")):
    rows = [{field: value} for value in values]
    found = sort_rows(rows, parse_order_by(text), lookup_for=lookup_in)
    return [row[field] for row in found]


@pytest.mark.parametrize(
    "text",
    [
        "-metrics.auc, number",
        " - metrics.auc,number ",
        ["-metrics.auc", "number"],
        ("-metrics.auc,number",),
    ],
)
def test_orders_are_separated_by_commas_or_given_as_several(text):
    """One string with commas and a list of strings say the same."""
    assert parse_order_by(text) == (
        Order(path=("metrics", "auc"), descending=True),
        Order(path=("number",)),
    )


def test_order_by_reads_backquoted_names():
    """A comma or a minus inside backquotes belongs to the name."""
    (order,) = parse_order_by("-params.`a,-b`")

    assert order == Order(path=("params", "a,-b"), descending=True)


def test_no_order_sorts_nothing():
    """An empty list of orders leaves the rows as they are."""
    rows = [{("number",): 2}, {("number",): 1}]

    assert parse_order_by([]) == ()
    assert sort_rows(rows, (), lookup_for=lookup_in) == rows


@pytest.mark.parametrize(
    ("text", "message", "at"),
    [
        ("-", "found the end, wanted a field", ""),
        ("number,", "found the end, wanted a field", ""),
        (",number", "found ',', wanted a field", ",number"),
        ("--number", "found '-', wanted a field", "-number"),
        ("number desc", "descending is written -metrics.auc", "desc"),
        ("-metric.auc", "did you mean 'metrics'?", "metric.auc"),
        ("number = 1", "found '=', wanted ',' or the end", "= 1"),
        ("-1", "found '-1', wanted a field", "-1"),
        (["number", "-oops"], "no field 'oops'", "oops"),
    ],
)
def test_error_in_an_order_points_there(text, message, at):
    """An order_by has the same kind of errors as a where."""
    found = refusal(text, parse_order_by)

    assert found.startswith("order_by: ")
    assert message in found
    assert caret(found) == at


@pytest.mark.parametrize("value", [None, 5, {"number"}, [5], b"number", iter(["number"])])
def test_order_by_that_is_no_text_is_refused(value):
    """The error says which type was found."""
    assert "order_by: found the type" in refusal(value, parse_order_by)


def test_order_by_has_the_cap_on_the_length():
    """A longer text is refused before it is read."""
    assert "at most 10,000" in refusal("number," * 2_000, parse_order_by)


def test_rows_sort_up_and_down():
    """Ascending is the default, a minus turns it round."""
    assert ordered([0.2, 3, -1], "metrics.auc") == [-1, 0.2, 3]
    assert ordered([0.2, 3, -1], "-metrics.auc") == [3, 0.2, -1]


@pytest.mark.parametrize("text", ["metrics.auc", "-metrics.auc"])
def test_rows_without_a_comparable_value_come_last(text):
    """Missing, null, NaN, an empty list and a dict come last both ways, in the order they had."""
    nan = math.nan
    nothing = [None, nan, MISSING, (), {"a": 1}, [nan, None]]
    found = ordered([nothing[0], 1, *nothing[1:], 1.0], text)

    assert found[:2] == [1, 1.0]
    assert [id(value) for value in found[2:]] == [id(value) for value in nothing]


def test_types_sort_one_after_the_other():
    """Booleans come before numbers and numbers before text, and nothing raises."""
    mixed = ["a", 2, True, 0.5, False, "B"]

    assert ordered(mixed, "metrics.auc") == [False, True, 0.5, 2, "B", "a"]
    assert ordered(mixed, "-metrics.auc") == ["a", "B", 2, 0.5, True, False]


def test_several_values_sort_by_the_smallest():
    """A version with two aliases stands where the first of them stands."""
    rows = [("staging", "production"), "development", ("staging",)]

    assert ordered(rows, "alias", ("alias",)) == [rows[1], rows[0], rows[2]]


def test_created_at_sorts_in_time():
    """A moment without a fraction comes before one with, though Z sorts after the point."""
    moments = ["2026-11-01T12:00:00.5Z", "2026-11-01T12:00:00Z", None, "2026-11-01T11:59:59Z"]

    assert ordered(moments, "created_at", ("created_at",)) == [
        moments[3],
        moments[1],
        moments[0],
        None,
    ]


def test_second_order_decides_between_equals():
    """Later keys sort inside earlier ones."""
    rows = [(1, "b"), (2, "a"), (1, "a"), (2, "b")]
    lookup_for = lambda row: lookup_in({("number",): row[0], ("actor",): row[1]})  # noqa: E731
    found = sort_rows(rows, parse_order_by("-number, actor"), lookup_for=lookup_for)

    assert found == [(2, "a"), (2, "b"), (1, "a"), (1, "b")]


def sort_group(value):
    """Give what equal rows share; everything without a comparable value is one group."""
    return (family(value), value) if family(value) and value == value else None


@given(st.lists(st.one_of(st.just(MISSING), SCALARS)), st.booleans())
def test_sort_is_stable_and_loses_nothing(values, descending):
    """Rows that are equal in the key keep their order, up and down, whatever they hold."""
    rows = [(value, index) for index, value in enumerate(values)]
    orders = (Order(path=("number",), descending=descending),)
    found = sort_rows(rows, orders, lookup_for=lambda row: lambda path: row[0])

    assert sorted(index for _, index in found) == list(range(len(rows)))
    for key in {sort_group(value) for value in values}:
        indices = [index for value, index in found if sort_group(value) == key]
        assert indices == sorted(indices)


def test_sort_leaves_its_argument_alone():
    """The rows come back as a new list."""
    rows = [2, 1]
    found = sort_rows(rows, parse_order_by("number"), lookup_for=lambda row: lambda _: row)

    assert (rows, found) == ([2, 1], [1, 2])


def test_hundred_thousand_rows_are_chosen_and_sorted_in_no_time():
    """A condition is compiled once: no row is slow enough to notice."""
    where = parse_where("metrics.auc > 0.5 and tags.team = 'risk' and params.`opt/lr` < 1")
    rows = [
        {("metrics", "auc"): i / 1e5, ("tags", "team"): "risk", ("params", "opt/lr"): 0.1}
        for i in range(100_000)
    ]
    start = time.perf_counter()
    chosen = [row for row in rows if where.matches(lookup_in(row))]
    found = sort_rows(chosen, parse_order_by("-metrics.auc"), lookup_for=lookup_in)

    assert len(found) == 49_999
    assert time.perf_counter() - start < 5
