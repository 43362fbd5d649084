"""What the state machines share: two handles on one place, in memory or in a folder, and a run."""

import itertools
import shutil
import tempfile

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from modelversion.errors import VersionNotFoundError

handles = st.integers(0, 1)
picks = st.integers(0, 30)
_COUNT = itertools.count(1)


class TwoHandles(RuleBasedStateMachine):
    """A machine whose rules are checked against plain Python through `self.handles`."""

    in_memory = True
    place = None

    def new_place(self):
        """Give the URL of an empty place."""
        if self.in_memory:
            self.place = f"memory://stateful-{next(_COUNT)}"
        else:
            self.place = tempfile.mkdtemp(prefix="modelversion-stateful-")
        return self.place

    def one_of(self, versions, i):
        """Choose a number of those that were ever given."""
        numbers = list(versions)
        return numbers[i % len(numbers)]

    def found(self, model, number, deleted):
        """Get a version, or check that a deleted one is refused."""
        if not deleted:
            return model[number]
        with pytest.raises(VersionNotFoundError):
            model[number]
        return None

    def at_the_end(self):
        """Check what holds when all is done; nothing may have been."""

    def teardown(self):
        try:
            if self.place is not None:
                self.at_the_end()
        finally:
            if self.place is not None and not self.in_memory:
                shutil.rmtree(self.place, ignore_errors=True)


def run(machine, *, in_memory, examples):
    """Run a machine on one kind of place."""
    placed = type(machine.__name__, (machine,), {"in_memory": in_memory})
    run_state_machine_as_test(
        placed, settings=settings(max_examples=examples, stateful_step_count=50, deadline=None)
    )
