"""A registry's place: what makes a folder a registry, and its journals.

Opening does no I/O. Reading an empty place gives an empty registry; the first write makes it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from modelversion import _json, layout, place
from modelversion.errors import (
    ConflictError,
    ModelNotFoundError,
    ModelVersionError,
    NotARegistryError,
    RecordError,
)
from modelversion.hooks import Hooks
from modelversion.journal import Clock, Journal
from modelversion.merges import first_keys
from modelversion.records import (
    FORMAT,
    Actor,
    ForkRecord,
    ModelCreated,
    RegistryForked,
    RegistryRecord,
    check_format,
)
from modelversion.schema import from_json, stored
from modelversion.state import MODELS, Fold, Models
from modelversion.storage import KeyTaken, Store, nonce

if TYPE_CHECKING:
    from modelversion.storage.cache import Copies

_HARMLESS = (".gitignore", ".DS_Store", "desktop.ini")


class Home:
    """Where a registry lives, who acts, and which clock tells the time."""

    def __init__(
        self,
        store: Store,
        actor: Actor,
        clock: Clock,
        ids: tuple[str, ...] = (),
        *,
        cache: Copies | None = None,
    ) -> None:
        self.store = store
        self.cache = cache
        self.actor = actor
        self.clock = clock
        # Whether to say where the registry is when it is made.
        self.announces = False
        # The id that the registry was made with, then one for each fork.
        self._ids = ids
        self.hooks = Hooks()
        self._policies: Journal | None = None
        self._names: dict[str, str] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        made_of = (self.store, self.actor, self.clock, self._ids)
        return Home, made_of, {"cache": self.cache}

    def now(self) -> str:
        """Give the clock's time as stored."""
        return _json.timestamp(self.clock())

    @property
    def seen_id(self) -> str | None:
        """The registry's id as far as it was read."""
        return self._ids[-1] if self._ids else None

    def is_own(self, registry_id: str) -> bool:
        """Tell whether an id is this registry's, or that of one it was forked from."""
        return self.id() is not None and registry_id in self._ids

    def id(self) -> str | None:
        """Give the registry's id, None while the place is empty.

        Raises:
            NotARegistryError: The place holds something else.
            NewerFormatError: A newer release made it.
        """
        if not self._ids:
            self.look([])
        return self._ids[-1] if self._ids else None

    def _lineage(self, first: str, fork: bytes | None) -> tuple[str, ...]:
        ids: tuple[str, ...] = (first,)
        while fork is not None:
            what = f"{self.store.url}/{_fork(len(ids))}"
            record = from_json(ForkRecord, _json.loads_strict(fork, what), what)
            if record.previous != ids[-1]:
                raise RecordError(f"{what} continues the registry {record.previous}, not {ids[-1]}")
            ids = (*ids, record.id)
            (fork,) = self.store.read_many([_fork(len(ids))])
        return ids

    def look(self, keys: list[str]) -> dict[str, bytes | None]:
        """Read keys beside the registry's id, in one wave, if that was never read.

        Raises:
            NotARegistryError: The place holds something else.
            NewerFormatError: A newer release made it.
        """
        if self._ids:
            return {}
        data, fork, *found = self.store.read_many([layout.REGISTRY, _fork(1), *keys])
        if data is not None:
            self._ids = self._lineage(_registry_id(data, self.store.url), fork)
        return dict(zip(keys, found, strict=True))

    def ensure(self) -> str:
        """Give the registry's id, making the registry where there is none.

        The loser of a race adopts the winner's id.

        Raises:
            NotARegistryError: The folder holds something else.
        """
        self.check()
        self.store.prove()
        if self._ids:
            return self._ids[-1]
        record = RegistryRecord(
            format=FORMAT, id=nonce() + nonce(), created_at=self.now(), actor=self.actor
        )
        with contextlib.suppress(KeyTaken):
            self.store.put_new(layout.REGISTRY, stored(record))
        self._ids = (_registry_id(self.store.read(layout.REGISTRY), self.store.url),)
        if self.announces:
            place.announce(self.store.url, self.store.local_path(""))
        return self._ids[-1]

    def check(self) -> None:
        """Refuse a place that holds something else, before anything is written to it."""
        if self.id() is not None:
            return
        names = [
            item.name
            for item in self.store.list("")
            if item.name not in _HARMLESS and not item.name.startswith(layout.TEMPORARY)
        ]
        # Another process may have made the registry since we looked.
        if not names or self.id() is not None:
            return
        shown = ", ".join(repr(name) for name in names[:3])
        raise NotARegistryError(
            f"{self.store.url} is no registry and is not empty (it holds {shown}); "
            "choose an empty folder, or one that a registry was made in"
        )

    def journal(self, folder: str, fold: Fold, registry_id: str, *, tail: int = 0) -> Journal:
        """Give a handle on one of the registry's journals.

        Chains begin with the id that the registry was made with, whatever it was forked to.
        """
        first = self._ids[0] if self._ids else registry_id
        journal = Journal(self.store, folder, fold, registry_id=first, clock=self.clock, tail=tail)
        journal.hooks = self.hooks
        return journal

    # ---- models

    def policies(self) -> Journal | None:
        """Give the registry-wide journal, None while the place is empty."""
        registry_id = self.id()
        if self._policies is None and registry_id is not None:
            self._policies = self.journal(layout.POLICIES, MODELS, registry_id)
        return self._policies

    def models(self) -> dict[str, str]:
        """Give the models: name -> first spelling, sorted by name."""
        known = self.look(first_keys(layout.POLICIES))
        # An empty place was found to be so by this very look.
        policies = self.policies() if self._ids else None
        if policies is None:
            return {}
        state: Models = policies.head(known).state
        self._names = dict(sorted(state.names.items()))
        return self._names

    def spelling(self, name: str) -> str:
        """Give a model's first spelling, or the name where that cannot be read."""
        if name not in self._names:
            with contextlib.suppress(ModelVersionError):
                self.models()
        return self._names.get(name, name)

    def require_model(self, name: str) -> None:
        """Raise unless the registry has the model.

        Raises:
            ModelNotFoundError: There is none; the nearest name is suggested.
        """
        if name not in self._names and name not in self.models():
            if self.id() is None:
                raise ModelNotFoundError(f"no model {name!r}: {no_registry(self.store.url)}")
            raise ModelNotFoundError(_no_model(name, self._names, self.store.url))

    def create_model(self, name: str, display: str) -> None:
        """Add a model where there is none."""
        self.ensure()
        policies = self.policies()
        if policies is None or name in self._names:
            return
        if name in self.models():
            # The entry may be visible and not durable yet, if its writer was killed.
            self.store.settle(layout.POLICIES)
            return
        with contextlib.suppress(_Exists):
            policies.append(lambda state: _create(state, name, display), actor=self.actor)
        self.models()

    # ---- forking

    def fork(self, reason: str) -> str:
        """Give the place an id of its own, and say so in its journal."""
        self.store.prove()
        record = ForkRecord(
            id=nonce() + nonce(),
            previous=self.require_id(),
            created_at=self.now(),
            actor=self.actor,
            reason=reason,
        )
        try:
            self.store.put_new(_fork(len(self._ids)), stored(record))
        except KeyTaken as e:
            raise ConflictError(
                f"{self.store.url} was forked by somebody else since it was opened; open it again"
            ) from e
        self._ids = (*self._ids, record.id)
        event = RegistryForked(id=record.id, previous=record.previous, reason=reason)
        policies = self.policies()
        if policies is not None:
            policies.append(lambda _: event, actor=self.actor)
        return record.id

    def require_id(self) -> str:
        """Give the registry's id.

        Raises:
            NotARegistryError: The place is empty.
        """
        found = self.id()
        if found is None:
            raise NotARegistryError(f"{self.store.url} is empty; save something to it first")
        return found


class _Exists(Exception):  # noqa: N818 - a signal inside this module
    pass


def _create(state: Models, key: str, display: str) -> ModelCreated:
    if key in state.names:
        raise _Exists
    return ModelCreated(model=key, display=display)


def _fork(n: int) -> str:
    return layout.entry(layout.FORKS, n)


def _registry_id(data: bytes, url: str) -> str:
    what = f"{url}/{layout.REGISTRY}"
    value = _json.loads_strict(data, what)
    check_format(value, what)
    if not isinstance(value, dict) or "format" not in value or "id" not in value:
        raise NotARegistryError(f"{what} is not the one of a registry; choose another folder")
    return from_json(RegistryRecord, value, what).id


def no_registry(url: str) -> str:
    """Say that a place is empty, which a typo in its address makes it."""
    return f"there is no registry at {url} yet; check the address"


def _no_model(name: str, known: dict[str, str], url: str) -> str:
    import difflib

    near = difflib.get_close_matches(name.lower(), known, n=1)
    if near:
        return f"no model {name!r} in {url}; did you mean {known[near[0]]!r}?"
    names = ", ".join(list(known.values())[:10]) or "none yet"
    return f"no model {name!r} in {url}; models: {names}"
