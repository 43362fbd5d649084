"""The names that a pickle may import where nothing else is allowed: an exact list, and no more.

Each was looked at by hand: called with any arguments and given any state while a pickle is
loaded, it runs no code of the pickle's choice, imports nothing and touches no file. Patterns
are not on it, nor anything that calls, looks up or compiles (`getattr`, `partial`, `operator`,
`exec`), nor what does so inside: distributions of
`scipy.stats` execute a text of their state, `numpy.memmap` makes files.
"""

from __future__ import annotations

from importlib.resources import files


def _listed() -> frozenset[str]:
    text = files("modelversion.serializers").joinpath("trusted.txt").read_text("ascii")
    return frozenset(line for line in text.split() if line)


TRUSTED = _listed()
