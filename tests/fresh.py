"""Processes that share nothing with the one that tests, and a reader of many versions."""

import json
import os
import subprocess
import sys
import textwrap

# Isolated: no script folder, no PYTHONPATH; only installed packages can be imported.
READER = """
import json, sys, traceback, warnings
import numpy as np
import modelversion as mv

warnings.simplefilter("ignore")

def plain(value):
    value = value.toarray() if hasattr(value, "toarray") else value
    return np.asarray(value)

def same(found, expected):
    found, expected = plain(found), plain(expected)
    if expected.dtype.kind == "f":
        return np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_array_equal(found, expected)

def check(held):
    for method, given, expected in held["calls"]:
        bound = getattr(held["model"], method)
        same(bound(given) if callable(bound) else bound, expected)

registry = mv.Registry(sys.argv[1])
for name in sys.argv[2:]:
    problems = {}
    for version in registry[name]:
        try:
            check(version.load())
        except Exception:
            problems[version.ref] = traceback.format_exc()
    print(json.dumps({"model": name, "versions": len(registry[name]), "problems": problems}))
"""


def run(code, *args, cwd, path=(), isolated=False):
    """Run code as a script in a new process and give what it printed."""
    folder = str(cwd)
    script = os.path.join(folder, "script.py")
    if not isolated:
        with open(script, "w", encoding="utf-8") as file:
            file.write(textwrap.dedent(code))
    how = ["-I", "-c", textwrap.dedent(code)] if isolated else [script]
    done = subprocess.run(
        [sys.executable, *how, *map(str, args)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def read_all(registry, *names, cwd):
    """Load every version of models in one fresh process and compare predictions.

    Versions hold {"model": m, "calls": [(method, argument, expected), ...]}.

    Returns:
        The number of versions, and reference -> traceback of those that failed.
    """
    out = run(READER, registry, *names, cwd=cwd, isolated=True)
    found = [json.loads(line) for line in out.splitlines()]
    problems = {}
    for each in found:
        problems.update(each["problems"])
    return sum(each["versions"] for each in found), problems
