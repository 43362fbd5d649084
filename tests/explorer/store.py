"""A store in the simulated world: every request is a scheduling point.

Requests go through `ask`, a transport that may lose the reply to a create. `put_new` above it
does what the protocol demands then: read back; ours (each record has a nonce) is won, another's
is lost, absent is put again, the same bytes under the same key, until a create is answered. The
adapters for folders and memory need none of that, as no reply of theirs is lost; this one is the
reference for adapters to remote places.
"""

import io

from modelversion.errors import OutcomeUnknownError, StorageError
from modelversion.storage import KeyAbsent, KeyTaken

from .world import CREATED, TAKEN, UNKNOWN


class SimulatedStore:
    """The Store protocol over `ask(request) -> answer`."""

    url = "sim://registry"
    remote = True

    def __init__(self, ask, *, backwards=False):
        self._ask = ask
        self._backwards = backwards

    def read(self, key):
        """Give the bytes of a key."""
        data = self._ask(("get", key))
        if data is None:
            raise KeyAbsent(key)
        return data

    def read_many(self, keys):
        """Give the bytes of each key; each is a request, since parallel ones keep no order."""
        order = reversed(range(len(keys))) if self._backwards else range(len(keys))
        found = {i: self._ask(("get", keys[i])) for i in order}
        return [found[i] for i in range(len(keys))]

    def put_new(self, key, data):
        """Create a key, whatever becomes of replies."""
        unsure = False
        while True:
            answer = self._ask(("create", key, data))
            if answer == CREATED:
                return
            if answer == TAKEN and not unsure:
                raise KeyTaken(key)
            unsure = True
            if self._is_ours(key, data, answer):
                return

    def _is_ours(self, key, data, answer):
        """Read back: True is ours, False absent, so that it is to be put again."""
        found = self._ask(("get", key))
        if found == data:
            return True
        if found is not None:
            raise KeyTaken(key)
        if answer == TAKEN:
            raise OutcomeUnknownError(f"{key} was taken and is absent; look again who removed it")
        return False

    def put(self, key, data):
        """Write a key that can be rebuilt; nothing is done about a lost reply."""
        if self._ask(("put", key, data)) == UNKNOWN:
            raise StorageError(f"no reply to put {key}; try again")

    def fill(self, folder, blobs, shared):
        """Put files, `version.json` among them; a shared one is copied if its bytes are right."""
        for blob in blobs:
            if blob.path in shared:
                self._ask(("get", shared[blob.path]))
            self.put_new(f"{folder}/{blob.path}", blob.read())

    def open(self, key, size=None):
        """Open a key for reading."""
        return io.BytesIO(self.read(key))

    def revalidate(self):
        """Say that there is no cache on the way."""
        return False

    def local_path(self, key):
        """Give None: nothing is on a disk."""
        return None

    def list(self, folder):
        """List a folder."""
        return list(self._ask(("list", folder)))

    def remove(self, key):
        """Remove a file; folders are but parts of keys."""
        self._ask(("remove", key))

    def settle(self, folder):
        """Do nothing: what is visible here is durable."""

    def spool(self):
        """Give None: bytes wait in memory."""
        return None

    def prove(self):
        """There is nothing to prove."""


def direct(content):
    """Give an `ask` on a dict, without any scheduling."""
    from .world import _OPERATIONS

    def ask(request):
        after, answer = _OPERATIONS[request[0]](content, *request[1:])
        if after is not content:
            kept = dict(after)
            content.clear()
            content.update(kept)
        return answer

    return ask
