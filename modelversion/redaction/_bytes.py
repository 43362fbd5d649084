"""Secrets inside bytes: of a pickle, of a file; where one is found, nothing is replaced."""

from __future__ import annotations

from collections.abc import Iterator

from modelversion.redaction._known import Known
from modelversion.redaction._tokens import SEAM, formats_in


def rules_in(data: bytes, known: Known) -> Iterator[str]:
    """Give the rules by which some bytes hold a secret: known values, known formats."""
    yield from known.rules_in(data)
    yield from formats_in(data)


class Watch:
    """Looks through a stream of bytes for secrets, piece by piece."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._seam = b""

    def __call__(self, piece: bytes) -> str | None:
        """Give the rule by which the next piece, with what came before it, holds a secret."""
        rule = next(rules_in(piece, self._known), None)
        if rule is None and self._seam:
            rule = next(rules_in(self._seam + piece[:SEAM], self._known), None)
        self._seam = (self._seam + piece)[-SEAM:] if len(piece) < SEAM else piece[-SEAM:]
        return rule
