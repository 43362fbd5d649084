"""An exhaustive explorer of the commit protocol, which runs the real code.

The actors (save, delete, alias, promote, roll back, set a policy, tag, gc, load, verify) are the
functions of `modelversion`; only the storage below them is simulated. Every call to it is a point
where another actor may go on, where the actor may crash, where a reply may be lost and where a
request may arrive late. Every schedule is tried, equal states are entered once, and the invariants
of the format are checked in every one of them.

An actor sees nothing but the answers of its storage, so what it does next is a function of the
answers so far. It is run alone against a script of them and stopped at the first call that the
script does not answer (`actors`); from there on, states are only combined (`search`). Threads and
their timing play no part, and a schedule that breaks an invariant is printed and can be repeated.

Not modelled: what a power cut takes of writes that have not returned (that is asked of the local
store, by its trace of system calls), and replies that are lost to reads and removals. Requests
of one `read_many` are answered one by one in their order, or from last to first, not in all orders.
A merge outlives the actor that started it here, which only adds states.
"""

from .actors import simulated
from .scenarios import SCENARIOS, Scenario
from .search import Report, ViolationError, explore

__all__ = ["SCENARIOS", "Report", "Scenario", "ViolationError", "explore", "simulated"]
