"""HTML that is escaped by construction, and the one style sheet."""

from __future__ import annotations

import base64
import re
from hashlib import sha256
from html import escape
from typing import Any

# Light and dark set foreground and background together, since a host may have changed only one.
_LIGHT = "--f:#1f2328;--b:#ffffff;--q:#57606a;--l:#d0d7de;--g:#1a7f37;--r:#b42318;--w:#845400;"
_DARK = "--f:#e6edf3;--b:#161b22;--q:#9ea7b3;--l:#3d444d;--g:#56d364;--r:#ff938a;--w:#e3b341;"
_DARK_HOSTS = (
    'body[data-jp-theme-light="false"]',
    "body.vscode-dark",
    "body.vscode-high-contrast:not(.vscode-high-contrast-light)",
    "[data-theme=dark]",
    "[theme=dark]",
    "body.dark",
)
_RULES = f"""
@{{{_LIGHT}color:var(--f)!important;background:var(--b)!important;border:1px solid var(--l);
border-radius:6px;padding:8px 12px;margin:2px 0;min-width:min-content;
font:13px/1.5 system-ui,sans-serif}}
HOSTS{{{_DARK}}}
@ p{{margin:4px 0}}
@ .mv-title{{font-size:15px}}
@ table{{border-collapse:collapse;border:0;margin:6px 0;font-size:13px;color:inherit}}
@ tr,@ td,@ th,@ caption,@ pre,@ summary{{color:var(--f)!important;background:var(--b)!important}}
@ td,@ th{{padding:2px 10px 2px 0;border:0;border-bottom:1px solid var(--l);text-align:left;
vertical-align:top;max-width:40em;overflow-wrap:break-word;white-space:normal}}
@ th{{font-weight:600;color:var(--q)!important}}
@ caption{{caption-side:top;text-align:left;font-weight:600;padding:2px 0}}
@ .mv-n{{text-align:right;font-variant-numeric:tabular-nums}}
@ .mv-u{{white-space:nowrap}}
@ summary{{cursor:pointer;padding:2px 0}}
@ details>*:not(summary){{margin-left:16px}}
@ pre{{font:12px/1.45 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere;
margin:4px 0;padding:0;border:0}}
@ img{{vertical-align:middle;max-width:100%;background:none;display:inline-block;margin:0}}
HOSTS img{{filter:invert(.9) hue-rotate(180deg)}}
@ .mv-quiet{{color:var(--q)!important}}
@ .mv-good{{color:var(--g)!important}}
@ .mv-bad{{color:var(--r)!important}}
@ .mv-warn{{color:var(--w)!important}}
"""
# An untrusted notebook drops the sheet; these literal colours are what is left then.
PLATE = "color:#1f2328;background-color:#ffffff"
INK = {"good": "color:#1a7f37", "bad": "color:#b42318", "warn": "color:#845400"}
INK["quiet"] = "color:#57606a"

# A style sheet holds for the whole notebook, and outputs of other releases stand in it too.
SCOPE = f"mv-{sha256(_RULES.encode()).hexdigest()[:8]}"


def _scoped(rules: str) -> str:
    # Twice, so that it is stronger than what the host says of its tables.
    own = f".{SCOPE}.{SCOPE}"
    for inner in ("", " img"):
        hosts = ",".join(f"{host} {own}{inner}" for host in _DARK_HOSTS)
        rules = rules.replace(f"HOSTS{inner}{{", f"{hosts}{{")
    return rules.replace("@", own).replace("\n", "")


class Html:
    """Text that is HTML already; only this module makes it."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


SHEET = Html(f"<style>{_scoped(_RULES)}</style>")
# In a file of its own there is no host to ask for the theme.
PAGE_SHEET = Html(
    f"<style>{_scoped(_RULES)}body{{margin:16px;background:#fff}}@media(prefers-color-scheme:dark)"
    f"{{body{{background:#0d1117}}.{SCOPE}.{SCOPE}{{{_DARK}}}"
    f".{SCOPE}.{SCOPE} img{{filter:invert(.9) hue-rotate(180deg)}}}}</style>"
)
_VOID = frozenset({"br", "img", "meta", "wbr"})
_LONG = 20
_LONG_WORD = re.compile(r"\S{21,}")
_MARK = "\0"  # in no text that is shown; where it were, it would be a place to break
_PIECE = re.compile(r"[^/_.:=-]{1,20}[/_.:=-]{0,4}|[/_.:=-]{1,4}")


def tag(name: str, /, *children: str | Html, **attributes: Any) -> Html:
    """Give an element; texts and attributes are escaped, None leaves an attribute out.

    >>> str(tag("td", "a < b", title='"'))
    '<td title="&quot;">a &lt; b</td>'
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{joined(*children)}</{name}>")


def joined(*parts: str | Html) -> Html:
    """Put parts one after the other."""
    return Html("".join(p.text if isinstance(p, Html) else escape(p) for p in parts))


def breakable(text: str) -> Html:
    """Give a text whose long words may break, where their parts end or else anywhere.

    Names of metrics and params, paths and digests would make a table wider than its notebook.

    >>> str(breakable("auc optimizer/learning_rate"))
    'auc optimizer/<wbr>learning_<wbr>rate'
    """
    if len(text) <= _LONG:
        return Html(escape(text))
    marked = _LONG_WORD.sub(lambda word: _MARK.join(_PIECE.findall(word[0])), text)
    return Html(escape(marked).replace(_MARK, "<wbr>"))


def image(svg: str, *, alt: str) -> Html:
    """Give a drawing as an image.

    An SVG element itself would be dropped by an untrusted notebook; an image runs nothing,
    loads nothing, and is kept.
    """
    data = base64.b64encode(svg.encode()).decode()
    return tag("img", alt=alt, src=f"data:image/svg+xml;base64,{data}")
