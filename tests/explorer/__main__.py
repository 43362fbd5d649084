"""Explore from the command line: `python -m tests.explorer [--deep] [scenario ...]`."""

import argparse
import time

import attrs

from . import SCENARIOS, explore, simulated


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", nargs="*", default=sorted(SCENARIOS))
    parser.add_argument("--deep", action="store_true", help="one more fault, and all switches")
    options = parser.parse_args()
    for name in options.scenario:
        scenario = SCENARIOS[name]
        limits = scenario.limits
        if options.deep:
            limits = attrs.evolve(
                limits, faults=limits.faults + 1, crashes=2, switches=None, states=5_000_000
            )
        started = time.perf_counter()
        with simulated():
            report = explore(scenario, limits)
        print(f"{time.perf_counter() - started:7.1f} s  {name:20} {report}", flush=True)


if __name__ == "__main__":
    main()
