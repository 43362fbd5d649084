"""Secrets inside a text: known values, known formats, URLs, and what is assigned to a name.

Each rule takes a text and gives it with the secrets replaced, and the names of the rules that
found one. What is replaced already is found no more, so that doing it twice changes nothing.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from urllib.parse import unquote

import attrs

from modelversion.redaction._formats import SHORTEST, text_formats
from modelversion.redaction._keys import in_options_of_code, is_key, looks_random
from modelversion.redaction._known import NOTHING_KNOWN, Known
from modelversion.redaction._names import is_secret_name
from modelversion.secret import REDACTED

BY_NAME = "name"
BY_URL = "url"

_MAX_NAME = 100
_MAX_LINE = 500
_MAX_KEPT = 200
Span = tuple[int, int]


@attrs.frozen
class Redaction:
    """Something that was redacted: where it was, such as `params.token`, and by which rule."""

    path: str
    rule: str


def redact_text(
    text: str, path: str = "text", *, known: Known = NOTHING_KNOWN, code: bool = False
) -> tuple[str, tuple[Redaction, ...]]:
    """Give a text without its secrets, and what was redacted.

    A text that will be cut must be redacted first: half a token is not recognised.

    Args:
        text: Any text.
        path: What the redactions call it.
        known: What is secret besides the rules, as `known_values` gives it.
        code: It is program text, where only what stands in quotes is a value.
    """
    redacted = _redacted_again if len(text) <= _MAX_KEPT else _redacted
    text, rules = redacted(text, known, code)
    return text, tuple(Redaction(path, rule) for rule in rules)


def _redacted(text: str, known: Known, code: bool) -> tuple[str, tuple[str, ...]]:
    text, rules = replace_values(text, known.values)
    for replace in (replace_formats, replace_in_urls):
        text, found = replace(text)
        rules += found
    text, found = replace_assigned(text, code=code)
    return text, tuple(dict.fromkeys([*rules, *found]))


# Params and globals say the same in one version after the other.
_redacted_again = functools.lru_cache(maxsize=4096)(_redacted)


def redact_url(url: str, path: str = "url") -> tuple[str, tuple[Redaction, ...]]:
    """Give a URL without login, secret-named query parts and tokens, and what was redacted."""
    url, tokens = replace_formats(url)
    url, logins = replace_in_urls(url)
    return url, tuple(Redaction(path, rule) for rule in [*tokens, *logins])


def replace_values(text: str, values: Iterable[tuple[str, str]]) -> tuple[str, list[str]]:
    """Replace values that are known to be secret; each comes with the name of its rule."""
    rules = []
    for value, rule in values:
        if value in text:
            text = text.replace(value, REDACTED)
            rules.append(rule)
    return text, rules


def replace_formats(text: str) -> tuple[str, list[str]]:
    """Replace tokens of known formats."""
    rules: list[str] = []
    if len(text) < SHORTEST:
        return text, rules
    for rule, needs, pattern in text_formats():
        if needs in text:
            text, count = pattern.subn(REDACTED, text)
            rules += [rule] * bool(count)
    return text, rules


# ---- URLs ----------------------------------------------------------------------------------------

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]{0,40}://)([^\s\"'<>`\\]+)")
_USERINFO = re.compile(r"[^/?#]+@")
_PART = re.compile(r"([?&;#])([\w.\-\[\]%]{1,100})=([^&;#\s]+)")
_SIGNATURES = re.compile(
    r"(?i)sig|signature|x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid"
    r"|code|auth"
)


def replace_in_urls(text: str) -> tuple[str, list[str]]:
    """Replace the userinfo and the secret-named query parts of URLs."""
    if "://" not in text:
        return text, []
    found = _URL.sub(lambda url: url[1] + _url_rest(url[1], url[2]), text)
    return found, [BY_URL] * (found != text)


def _url_rest(scheme: str, rest: str) -> str:
    user = _USERINFO.match(rest)
    if user is not None and _is_login(scheme, user[0][:-1]):
        rest = f"{REDACTED}@{rest[user.end() :]}"
    return _PART.sub(_query_part, rest)


def _is_login(scheme: str, userinfo: str) -> bool:
    """Tell a login from the user of `ssh://git@host` and the container of `abfs://c@account`."""
    name, colon, password = userinfo.partition(":")
    if colon and password:
        return not _is_placeholder(password)
    return scheme.startswith("http") and not _is_placeholder(name)


def _query_part(part: re.Match[str]) -> str:
    name = unquote(part[2])
    secret = is_secret_name(name) or _SIGNATURES.fullmatch(name) is not None
    if not secret or _is_placeholder(part[3]):
        return part[0]
    return f"{part[1]}{part[2]}={REDACTED}"


_PLACEHOLDER = re.compile(
    r"\(redacted\)|\*+|<\|?[\w /\-]+\|?>|\[[A-Z_]+\]|\$?\{[^{}]*\}|\$\w+|%(?:\(\w+\))?s|\s*"
)


def _is_placeholder(value: str) -> bool:
    """Tell what stands for a value, or is a special token of a text, from a value."""
    return _PLACEHOLDER.fullmatch(value) is not None


def is_secret_value(value: str) -> bool:
    """Tell whether a text under a secret name is one: not empty, and no placeholder."""
    return not _is_placeholder(value)


# ---- assignments ---------------------------------------------------------------------------------

# Every secret name has one of these. Finding them one by one is ten times as fast as with `re`.
_KEYWORDS = (
    *("passw", "passp", "passc", "_pass", "secret", "token", "key", "cred", "pwd", "auth"),
    *("bearer", "cookie"),
)
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_NAME_BEFORE = re.compile(r"(?:\w[\w\-]*)?\Z")
_NAME_BEHIND = re.compile(r"[\w\-]*")
_LITERAL = (
    r"(?i:[rbuf]{0,2})(?:\"\"\"(?P<a>.*?)\"\"\"|'''(?P<b>.*?)'''"
    r"|\"(?P<c>(?:\\.|[^\"\\\n])*)\"|'(?P<d>(?:\\.|[^'\\\n])*)')"
)
_EQUALS = r"\s*(?::[^\S\n]*[\w.\[\], |]{1,80}?)?\s*(?::=|[=!]?=)\s*\(?\s*"


def _compiled(*patterns: str) -> list[re.Pattern[str]]:
    return [re.compile(pattern, re.DOTALL) for pattern in patterns]


# What follows a name: of a variable or a parameter; of a key in quotes or in brackets.
_ASSIGNED = _compiled(
    _EQUALS + _LITERAL,
    r"[\"']\]?\s*(?::|=>|[=!]?=)\s*\(?\s*" + _LITERAL,
)
# Behind the name in a call: the default, or the value that is set.
_CALL = re.compile(r"\b(?:get|getenv|pop|setdefault|setenv|putenv|setattr)\([^()\n]*[\"']\Z")
_IN_CALL = _compiled(r"[\"']\s*,\s*" + _LITERAL)
_OPTION = re.compile(r"[\"']--?[\w\-]*\Z")
_IN_OPTION = _compiled(r"[\"'][^()]{0,300}?\bdefault\s*=\s*" + _LITERAL)
# A key of YAML, at the beginning of its line.
_LINE_START = re.compile(r"(?:\A|\n)[+\-]?[ \t]*(?:- )?\Z")
_IN_YAML = _compiled(r":[ \t]+" + _LITERAL)
# A line of an environment file: nothing that Python would read as a name or a call.
_IN_ENV_FILE = _compiled(r"=(?P<a>(?=[\w+/=.\-]*[0-9+/])[\w+/=.\-]{6,})(?=\r?(?:\n|\Z))")
_EXPORT = re.compile(r"(?:\A|\n)[+\-]?[ \t]*(?:export |set )?\Z")
# In prose and command lines a value may have no quotes.
_DASHES = re.compile(r"(?<![\w\-])--?\Z")
_BARE = r"(?P<a>[^\s;&,'\"()\[\]{}<>|`]+)"
_UNQUOTED = _compiled(r"=" + _BARE)
_IN_PROSE = _compiled(
    r"[\"']=" + _BARE,
    r"[\"']?[\s:=]{1,3}" + _LITERAL,
    r"[\"']?:[ \t]*" + r"(?=[^\s]*[0-9])(?P<a>[^\s;&,'\"()\[\]{}<>|`]{6,})",
)
_IN_COMMAND = _compiled(r"(?:[ \t]+|=)" + r"(?!-|[A-Z_]+\b)" + _BARE)
_WRAPPED = re.compile(r"\bSecret\(\s*" + _LITERAL, re.DOTALL)
_NO_TEXT = re.compile(r"None|True|False|null|true|false|[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?|\.+")


def replace_assigned(text: str, *, code: bool) -> tuple[str, list[str]]:
    """Replace texts that are assigned to a secret name.

    Args:
        text: What to look through.
        code: It is program text, where only what stands in quotes is a value.
    """
    keywords = _keywords(text)
    if not keywords:
        return text, []
    rules = _in_code if code else _in_prose
    spans = sorted({*_wrapped(text), *_assigned(text, keywords, rules)})
    for start, end in reversed(_apart(spans)):
        text = text[:start] + REDACTED + text[end:]
    return text, [BY_NAME] * bool(spans)


def _keywords(text: str) -> list[Span]:
    """Give where a secret name may be, in order."""
    lower = text.translate(_LOWER)
    found = []
    for keyword in _KEYWORDS:
        at = lower.find(keyword)
        while at >= 0:
            found.append((at, at + len(keyword)))
            at = lower.find(keyword, at + 1)
    return sorted(found)


def _wrapped(text: str) -> Iterable[Span]:
    return (_value_span(found) for found in _WRAPPED.finditer(text) if _is_value(found))


def _assigned(
    text: str, keywords: Iterable[Span], rules: Callable[[str], Iterable[re.Pattern[str]]]
) -> Iterable[Span]:
    """Give the spans of values behind secret names."""
    at = 0
    for start, end in keywords:
        if start < at:
            continue  # it lies in the name before
        name_start = start - len(_first(_NAME_BEFORE, text[max(0, start - _MAX_NAME) : start]))
        at = end + len(_first(_NAME_BEHIND, text[end : end + _MAX_NAME]))
        name = text[name_start:at]
        before = text[max(0, name_start - _MAX_LINE) : name_start]
        if is_key(name):
            yield from _under_key(text, at, before=before, rules=rules)
        if not is_secret_name(name):
            continue
        found = _value_behind(text, at, rules(before))
        if found is not None:
            yield _value_span(found)
        opened = _OPENED.match(text, at)
        if opened is not None:
            yield from _inside(text, opened.end() - 1)


def _value_behind(text: str, at: int, rules: Iterable[re.Pattern[str]]) -> re.Match[str] | None:
    found = (rule.match(text, at) for rule in rules)
    return next((match for match in found if match is not None and _is_value(match)), None)


def _under_key(
    text: str, at: int, *, before: str, rules: Callable[[str], Iterable[re.Pattern[str]]]
) -> Iterable[Span]:
    """Give the span of what a bare `key` names, where that is a secret."""
    found = _value_behind(text, at, rules(before))
    if found is None:
        return
    start, end = _value_span(found)
    behind = text[end : end + _MAX_LINE]
    if looks_random(text[start:end]) or in_options_of_code(before, behind):
        yield start, end


_OPENED = re.compile(r"(?:" + _EQUALS.removesuffix(r"\(?\s*") + r"|[\"']\]?\s*:\s*)[\[{(]")
_PART_OF_VALUE = re.compile(
    _LITERAL + r"(?P<key>\s*:)?|(?P<call>[\w\])]\()|[\[({]|[\])}]", re.DOTALL
)
_MAX_INSIDE = 4000


def _inside(text: str, start: int) -> Iterable[Span]:
    """Give the spans of the texts inside a list, tuple or dict; not of keys, nor in a call."""
    calls: list[bool] = []
    for found in _PART_OF_VALUE.finditer(text, start, start + _MAX_INSIDE):
        if found["call"] or found[0] in "[({":
            calls.append(bool(found["call"]))
        elif found[0] in "])}":
            calls.pop()
        elif not any(calls) and found["key"] is None and _is_value(found):
            yield _value_span(found)
        if not calls:
            return


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[0] if found else ""


def _in_code(before: str) -> Iterable[re.Pattern[str]]:
    """Give what may follow a name in program text, by what stands before it."""
    yield from _ASSIGNED
    if _CALL.search(before):
        yield from _IN_CALL
    if _OPTION.search(before):
        yield from _IN_OPTION
    if _LINE_START.search(before):
        yield from _IN_YAML
    if _EXPORT.search(before):
        yield from _IN_ENV_FILE
    if _DASHES.search(before):
        yield from _IN_COMMAND
    if _in_quotes(before):
        yield from _UNQUOTED


def _in_quotes(before: str) -> bool:
    """Tell whether a text of the same line goes on behind this."""
    line = before[before.rfind("\n") + 1 :]
    return line.count('"') % 2 == 1 or line.count("'") % 2 == 1


def _in_prose(before: str) -> Iterable[re.Pattern[str]]:
    yield from _in_code(before)
    yield from _UNQUOTED
    yield from _IN_PROSE


_QUOTED = ("a", "b", "c", "d")


def _value_span(found: re.Match[str]) -> Span:
    groups = found.groupdict()
    return next(found.span(name) for name in _QUOTED if groups.get(name) is not None)


def _is_value(found: re.Match[str]) -> bool:
    start, end = _value_span(found)
    value = found.string[start:end]
    return not _is_placeholder(value) and _NO_TEXT.fullmatch(value) is None


def _apart(spans: list[Span]) -> list[Span]:
    """Leave out spans that lie in one before."""
    kept: list[Span] = []
    for span in spans:
        if not kept or span[0] >= kept[-1][1]:
            kept.append(span)
    return kept
