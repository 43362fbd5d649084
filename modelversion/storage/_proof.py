"""Show that a remote place creates once: create a key twice, and look who won."""

from __future__ import annotations

import contextlib

from modelversion.errors import OutcomeUnknownError, StorageError, UnsafeFilesystemError
from modelversion.layout import TEMPORARY
from modelversion.storage import KeyTaken, Store, nonce
from modelversion.storage._explain import explain


def prove(store: Store) -> None:
    """Create a key twice: the second must lose, and the bytes of the first stay.

    Raises:
        UnsafeFilesystemError: Both won.
        StorageError: The place cannot be written.
    """
    key = f"{TEMPORARY}{nonce()}"
    try:
        once = _creates_once(store, key)
    except OutcomeUnknownError as e:  # nothing hangs on this key
        raise explain(e.__cause__ or e, "write", f"{store.url}/{key}") from e
    finally:
        # A bucket may let many write and few remove; readers pass temporary names over.
        with contextlib.suppress(StorageError):
            store.remove(key)
    if not once:
        raise UnsafeFilesystemError(
            f"{store.url}: two writers of one key both won; this server does not refuse to "
            "create what is there, so it cannot hold a registry that many write"
        )


def _creates_once(store: Store, key: str) -> bool:
    store.put_new(key, b"first")
    try:
        store.put_new(key, b"second")
    except KeyTaken:
        return store.read(key) == b"first"
    return False
