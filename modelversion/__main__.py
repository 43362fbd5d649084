"""The command line: `python -m modelversion`, for CI jobs and shells.

It exits with 0 if all is well, with 1 if a gate failed or something does not verify, and with 2
on any error, whose message is on stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from modelversion import __version__, _json, commands
from modelversion.errors import ModelVersionError, ModelVersionWarning
from modelversion.registry import Registry

FORMATS = ("text", "json", "markdown")
_COMMON = {"registry": None, "actor": None, "format": "text"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    args = argparse.Namespace(**_COMMON)
    _parser().parse_args(argv, args)
    try:
        with _plain_warnings():
            registry = Registry(args.registry, actor=args.actor)
            outcome = args.run(registry, args)
            text = _rendered(outcome, args.format)
    except (ModelVersionError, OSError) as e:
        _say(f"error: {e}")
        return commands.ERROR
    _print(text)
    return int(outcome.code)


def _rendered(outcome: commands.Outcome, form: str) -> str:
    if form == "json":
        return _json.dumps(outcome.value).decode()
    return commands.markdown(outcome.shown) if form == "markdown" else str(outcome.shown)


def _print(text: str) -> None:
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has seen enough; the interpreter must not try once more at its end.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(text: str) -> None:
    """Write a line to stderr; what was read may hold anything a terminal would obey."""
    sys.stderr.write("modelversion: " + "".join(c if c.isprintable() else " " for c in text) + "\n")


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print warnings as lines, without the place in our code that they came from."""
    with warnings.catch_warnings():
        # Whatever filters say, a command shows each, and none of them ends it.
        warnings.simplefilter("always", ModelVersionWarning)
        warnings.showwarning = lambda message, *rest, **more: _say(f"warning: {message}")
        yield


# ---- arguments -----------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="modelversion",
        description="Model versioning in a folder or a bucket.",
        epilog="Exit codes: 0 all is well, 1 a gate failed or something does not verify, 2 error.",
    )
    parser.add_argument("--version", action="version", version=f"modelversion {__version__}")
    common = _common()
    _common(parser)
    found = parser.add_subparsers(metavar="command", required=True)
    for name, run, arguments in _COMMANDS:
        doc = str(run.__doc__)
        sub = found.add_parser(name, help=doc, description=doc, parents=[common])
        sub.set_defaults(run=run)
        for flags, options in arguments:
            sub.add_argument(*flags, **options)
    return parser


def _common(parser: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    """Give the options that may stand before and after a command."""
    parser = parser or argparse.ArgumentParser(add_help=False)
    suppressed: dict[str, Any] = {"default": argparse.SUPPRESS}
    parser.add_argument(
        "--registry",
        metavar="URL",
        help="a folder or an fsspec URL; else the default",
        **suppressed,
    )
    parser.add_argument("--actor", metavar="NAME", help="who acts; else as detected", **suppressed)
    parser.add_argument("--format", choices=FORMATS, help="of the output: text", **suppressed)
    return parser


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 <= hours <= 10**6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of hours from 0")
    return hours


Argument = tuple[tuple[str, ...], dict[str, Any]]


def _arg(*flags: str, **options: Any) -> Argument:
    return flags, options


_REF = _arg("ref", metavar="REF", help="such as churn:4 or churn@production")
_STAGE = _arg("stage", metavar="STAGE")
_MODEL = _arg("model", metavar="MODEL")
_REASON = _arg("--reason", required=True, help="why; it stays in the journal")
_CURRENT = _arg(
    "--if-current", default=..., metavar="N", help="only if this is there now: a version, or none"
)
_DRY = _arg("--dry-run", action="store_true", help="only tell what would be done")
_LIMIT = _arg("--limit", type=_number, help="how many at most")
_TO = _arg("--to", metavar="URL", required=True, help="the registry to copy into")

_COMMANDS: tuple[tuple[str, commands.Command, list[Argument]], ...] = (
    (
        "list",
        commands.list_,
        [
            _arg("model", metavar="MODEL", nargs="?"),
            _arg("--where", help="such as: metrics.auc > 0.9"),
            _arg("--order-by", help="such as: --order-by=-metrics.auc"),
            _LIMIT,
        ],
    ),
    ("show", commands.show, [_REF]),
    ("diff", commands.diff, [_REF, _arg("other", metavar="OTHER", help="the earlier one")]),
    ("history", commands.history, [_MODEL, _arg("stage", metavar="STAGE", nargs="?")]),
    ("at", commands.at, [_MODEL, _arg("when", metavar="WHEN", help="a day, its end, or a time")]),
    (
        "explain",
        commands.explain,
        [
            _MODEL,
            _STAGE,
            _arg("--position", type=_number, metavar="N", help="of another decision; see history"),
        ],
    ),
    (
        "events",
        commands.events,
        [_arg("--since", metavar="CURSOR", help="a cursor, a time, or 'now'"), _LIMIT],
    ),
    ("check", commands.check, [_REF, _STAGE]),
    (
        "promote",
        commands.promote,
        [
            _REF,
            _STAGE,
            _arg("--reason", help="why; a policy may want it"),
            _CURRENT,
            _arg("--override", action="store_true", help="pass over what is not met; recorded"),
            _arg("--to", metavar="URL", help="copy it into this registry and promote it there"),
        ],
    ),
    ("approve", commands.approve, [_REF, _STAGE, _REASON]),
    ("reject", commands.reject, [_REF, _STAGE, _REASON]),
    (
        "rollback",
        commands.rollback,
        [
            _MODEL,
            _STAGE,
            _REASON,
            _arg("--to", metavar="N", help="a version that was there before"),
            _CURRENT,
            _DRY,
        ],
    ),
    (
        "freeze",
        commands.freeze,
        [_MODEL, _STAGE, _REASON, _arg("--until", metavar="TIME", help="a day or a time, in UTC")],
    ),
    ("unfreeze", commands.unfreeze, [_MODEL, _STAGE, _REASON]),
    ("clear", commands.clear, [_MODEL, _STAGE, _REASON]),
    (
        "withdraw",
        commands.withdraw,
        [_REF, _REASON, _arg("--use-instead", metavar="N", help="another version")],
    ),
    ("restore", commands.restore, [_REF, _REASON]),
    ("copy", commands.copy, [_arg("refs", metavar="REF", nargs="+"), _TO]),
    (
        "verify",
        commands.verify,
        [
            _arg("ref", metavar="REF", nargs="?", help="a model or a version; else all"),
            _arg("--since", metavar="FILE", help="the file of a checkpoint"),
        ],
    ),
    (
        "checkpoint",
        commands.checkpoint,
        [_arg("--output", metavar="FILE", help="write it to a file too")],
    ),
    (
        "audit",
        commands.audit,
        [
            _arg("models", metavar="MODEL", nargs="*"),
            _arg("--since", metavar="DATE", help="from the beginning of this day, in UTC"),
            _arg("--until", metavar="DATE", help="to the end of this day, in UTC"),
            _arg("--html", metavar="FILE", help="write the report as one HTML file"),
            _arg("--csv", metavar="FILE", help="write the entries as CSV"),
        ],
    ),
    (
        "gc",
        commands.gc,
        [_arg("--older-than", type=_hours, default=24.0, metavar="HOURS"), _DRY],
    ),
)


if __name__ == "__main__":
    sys.exit(main())
