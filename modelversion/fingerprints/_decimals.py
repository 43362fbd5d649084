"""Decimals as texts: equal numbers have equal ones, whatever their scale."""

from __future__ import annotations

from decimal import Decimal

from modelversion.errors import FingerprintError


def canonical(value: Decimal) -> bytes:
    """Give a decimal as an integer that does not end in 0, `E`, and the exponent.

    Raises:
        FingerprintError: It is no finite number.
    """
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise FingerprintError(f"the decimal {value} is no number; use None for a missing one")
    text = "".join(map(str, digits))
    short = text.rstrip("0")
    if not short:
        return b"0E0"
    return f"{'-' if sign else ''}{short}E{exponent + len(text) - len(short)}".encode()
