"""A registry: a place on a filesystem that holds models."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, overload

from modelversion import place, upkeep
from modelversion.checkpoint import Checkpoint, read_checkpoint
from modelversion.copying import Courier
from modelversion.display import Page, Shown
from modelversion.environment import find_actor
from modelversion.errors import (
    InvalidInputError,
    ModelNotFoundError,
    ModelVersionError,
    NotFoundError,
)
from modelversion.history import History
from modelversion.home import Home, utc_now
from modelversion.loading import check_allow
from modelversion.mode import is_disabled, warn_of_rank
from modelversion.model import Model
from modelversion.notes import Notes, Setting
from modelversion.refs import check_name, parse
from modelversion.run import Run, Target
from modelversion.saving import Frozen, open_spool, save
from modelversion.serializers import Allow
from modelversion.snapshot import NOTHING, check_notes, check_text
from modelversion.storage import Blob, open_store
from modelversion.storage.spool import Spool
from modelversion.table import Versions, select
from modelversion.tracking import F, check_options, track
from modelversion.verification import VerifyReport, pin, verify_registry
from modelversion.version import Version
from modelversion.versions import Line, first_look, resolve


class Registry(Shown):
    """A place that holds models; opening it does no I/O.

    Reading an empty place gives an empty registry, and the first write makes it.
    """

    def __init__(
        self,
        url: str | os.PathLike[str] | None = None,
        *,
        storage_options: Mapping[str, Any] | None = None,
        actor: str | None = None,
        allow_pickle: Allow | None = None,
        writers: str = "many",
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Open a registry.

        Args:
            url: A folder, any fsspec URL or a UPath. Without one: `$MODELVERSION_REGISTRY`,
                `[tool.modelversion] registry` of a pyproject.toml above, an existing
                `model-registry/` above, else `./model-registry`.
            storage_options: Passed to the filesystem.
            actor: Who acts; else `$MODELVERSION_ACTOR`, the CI's actor, or user@host.
            allow_pickle: What loading may run: True (default for local folders and memory),
                False (default elsewhere), or a list of exact names as `"module:name"`.
            writers: `"single"` if no two processes ever write at once; it allows filesystems
                that cannot create a file exactly once.
            clock: Gives the time; it orders nothing.

        Raises:
            InvalidInputError: An argument is none of these.
        """
        check_allow(allow_pickle)
        target = place.default_url() if url is None else url
        self.__setstate__(
            {
                "store": open_store(target, storage_options=storage_options, writers=writers),
                "actor": find_actor(actor),
                "clock": clock,
                "allow": allow_pickle,
                "default": url is None,
            }
        )

    def __getstate__(self) -> dict[str, Any]:
        home = self._home
        return {
            "store": home.store,
            "actor": home.actor,
            "clock": home.clock,
            "allow": self._allow,
            "default": self._default,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._home = Home(state["store"], state["actor"], state["clock"])
        self._allow: Allow | None = state["allow"]
        self._default: bool = state["default"]
        self._histories: dict[str, History] = {}

    @property
    def url(self) -> str:
        """Where it is."""
        return self._home.store.url

    @property
    def id(self) -> str | None:
        """The id that its first write gave it, None while the place is empty."""
        return self._home.id()

    def __repr__(self) -> str:
        shown = "".join(c if c.isprintable() else "?" for c in self.url)
        try:
            count = len(self._home.models())
        except ModelVersionError as e:  # a repr never raises
            return f"<Registry {shown} ({type(e).__name__})>"
        return f"<Registry {shown}: {count} model{'' if count == 1 else 's'}>"

    def _page(self) -> Page:
        from modelversion.views.model import registry_page

        return registry_page(self.url, self._all())

    # ---- models

    def __getitem__(self, name: str) -> Model:
        """Give a model.

        Raises:
            ModelNotFoundError: There is none of that name; the nearest is suggested.
        """
        key = check_name(name, "model")
        self._home.require_model(key)
        return Model(self._history(key), self._allow)

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and check_name(name, "model") in self._home.models()
        except ModelVersionError:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(self._home.models().values())

    def __len__(self) -> int:
        return len(self._home.models())

    def models(self) -> list[Model]:
        """Give every model, sorted by name."""
        return [Model(self._history(name), self._allow) for name in self._home.models()]

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def _history(self, name: str) -> History:
        """Give the one history of a model that this handle keeps."""
        known = self._histories.get(name)
        if known is None:
            registry_id = self._home.id()
            if registry_id is None:
                raise ModelNotFoundError(f"no model {name!r}: {self.url} is empty")
            known = self._histories.setdefault(name, History(Line(self._home, name, registry_id)))
        return known

    def _all(self) -> list[History]:
        return [self._history(name) for name in self._home.models()]

    # ---- saving

    def save(
        self,
        name: str,
        value: Any = NOTHING,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        artifacts: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        description: str | None = None,
        parents: Iterable[str | Version] = (),
        verify: str | None = None,
        new: bool = False,
        not_secret: Collection[str] = (),
        allow_secrets: bool = False,
    ) -> Version:
        """Save an object and what belongs to it as the next version of a model.

        Args:
            name: The model's name; it is made if there is none.
            value: The object. Without one, a version without an object is saved.
            params: Text, numbers, bools, None, times, bytes, and lists, tuples and dicts.
            metrics: Numbers, or `modelversion.metric` for a direction and a sample size.
            data: Name -> frame, array or tensor it was made from; type, shape and dtypes are
                kept, never the data.
            artifacts: Path in the version -> bytes, text, or a `pathlib.Path` of a file or folder.
            tags: Name -> text, number, bool or None; tags can be changed later.
            description: What it is.
            parents: References or versions that it was made from.
            verify: `"load"` loads the object in a fresh process before it is committed.
            new: Make a version even if the latest has the same content.
            not_secret: Paths such as `params.token_kind` that are not redacted, as
                `version.redactions` gives them.
            allow_secrets: Store the object and the artifacts although they hold secrets.

        Returns:
            The version: the new one, or the latest where the content is the same.

        Raises:
            InvalidInputError: Something cannot be stored; nothing was written.
            UnpicklableError: A part of the object cannot be pickled; nothing was committed.
            SecretError: The object or an artifact holds a secret; nothing was committed.
            SaveError: The commit failed; the object is in `.value`, its bytes in `.spooled_at`.
        """
        key = check_name(name, "model")
        notes = check_notes(
            params=params,
            metrics=metrics,
            data=data,
            tags=tags,
            description=description,
            parents=self._parents(parents),
            not_secret=not_secret,
            allow_secrets=allow_secrets,
        )
        draft = Frozen(name, notes, value, artifacts=artifacts or {}, verify=verify, new=new)
        self._home.check()
        pointer = save(self._home, draft, partial(self._line, key))
        return Version(self._history(key), pointer, self._allow)

    def track(
        self,
        model: str,
        /,
        *,
        ignore: Collection[str] = (),
        returns: str | Collection[str] = (),
        on_error: str = "discard",
        not_secret: Collection[str] = (),
        allow_secrets: bool = False,
    ) -> Callable[[F], F]:
        """Commit what a function returns into this registry; see `modelversion.track`."""
        options = check_options(
            ignore, returns, on_error, not_secret=not_secret, allow_secrets=allow_secrets
        )
        return track(model, target=self._target, options=options)

    def run(
        self,
        model: str,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        description: str | None = None,
        parents: Iterable[str | Version] = (),
        on_error: str = "discard",
        not_secret: Collection[str] = (),
        allow_secrets: bool = False,
    ) -> Run:
        """Record training that is no function of its own: a block, or cells of a notebook.

        `with registry.run("churn") as run:` commits at the end of the block. Without `with`,
        `run = registry.run("churn").start()` records until `run.commit()` or `run.discard()`.

        Args:
            model: The model's name.
            params: As in `save`; `run.log_params` adds to them.
            tags: As in `save`.
            description: As in `save`.
            parents: References or versions that it builds on; what is loaded inside is added.
            on_error: `"keep"` commits what was logged, marked as failed, when the block raises;
                `"discard"` commits nothing.
            not_secret: As in `save`.
            allow_secrets: As in `save`.

        Raises:
            InvalidInputError: Something cannot be stored.
        """
        check_name(model, "model")
        options = check_options((), (), on_error)
        notes = check_notes(
            tags=tags,
            description=description,
            parents=() if not parents else self._parents(parents),
            not_secret=not_secret,
            allow_secrets=allow_secrets,
        )
        setting = Setting(
            model=model,
            keep_failed=options.on_error == "keep",
            tags=notes.tags,
            description=description,
            lifted=notes.lifted,
        )
        warn_of_rank(model)
        run = Run(setting, self._target(), off=is_disabled())
        run.log_first(params, notes.parents)
        return run

    def _parents(self, parents: Iterable[str | Version]) -> list[str]:
        if isinstance(parents, str):
            raise InvalidInputError(f"parents must be a list, such as [{parents!r}]; found a str")
        return [p.ref if isinstance(p, Version) else self.get(p).ref for p in parents]

    def _target(self) -> Target:
        return Target(self._prepare, self._spool, self._commit)

    def _spool(self, allow_secrets: bool) -> Spool:
        return open_spool(self._home, allow_secrets=allow_secrets)

    def _commit(
        self, name: str, notes: Notes, value: Any, frozen: tuple[Blob, ...] = ()
    ) -> Version:
        key = check_name(name, "model")
        draft = Frozen(name, notes, value, frozen=frozen)
        pointer = save(self._home, draft, partial(self._line, key))
        return Version(self._history(key), pointer, self._allow)

    def _line(self, key: str) -> Line:
        """Give a model to be written, in a registry that was made if there was none."""
        self._prepare()
        return self._history(key).line

    def _prepare(self) -> None:
        """Show that the place can be written, and make the registry where there is none."""
        made = self._home.id() is None
        self._home.ensure()
        if made and self._default:
            place.announce(self.url, self._home.store.local_path(""))

    # ---- reading

    def get(self, reference: str) -> Version:
        """Give the version that a reference names.

        Args:
            reference: `churn` (the latest), `churn:3`, `churn:latest`, `churn@champion`, also
                behind `models:/`.

        Raises:
            InvalidReferenceError: It does not parse.
            NotFoundError: There is no such model, version or alias.
        """
        ref = parse(reference)
        key = ref.model.lower()
        known = self._home.look(first_look(key, ref.selector))
        history = self._history(key)
        try:
            return Version(history, resolve(history.line, ref.selector, known), self._allow)
        except NotFoundError:
            self._home.require_model(key)
            raise

    def load(self, reference: str, *, mmap: bool = False, allow_pickle: Allow | None = None) -> Any:
        """Load the object that a reference names; see `get` and `Version.load`."""
        version = self.get(reference)
        # Resolving it has just read what was decided.
        return version._load(version._line.decisions.seen().state, mmap, allow_pickle)

    def search(
        self,
        *,
        where: str | None = None,
        data: Any = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Versions:
        """Give the versions of all models that meet a condition; see `Model.versions`.

        Args:
            where: As in `Model.versions`.
            data: Only versions that were made from it, directly or through a step: a frame or an
                array, a `pathlib.Path` of a file or folder, `modelversion.data(...)`, or a digest.
            order_by: As in `Model.versions`.
            limit: How many at most.

        Raises:
            QueryError: `where` or `order_by` does not parse.
            InvalidValueError: `data` is nothing that has a digest.
        """
        used = None
        if data is not None:
            from modelversion.inputs import digest_of

            used = digest_of(data)
        rows = select(self._all(), where=where, order_by=order_by, limit=limit, data=used)
        return Versions(rows, self._allow)

    # ---- other registries

    @overload  # a str is also an iterable of them, and is taken for one reference
    def copy(self, what: str | Version, /, *, to: Registry) -> Version: ...  # type: ignore[overload-overlap]

    @overload
    def copy(self, what: Model | Iterable[str | Version], /, *, to: Registry) -> list[Version]: ...

    def copy(
        self, what: str | Version | Model | Iterable[str | Version], /, *, to: Registry
    ) -> Version | list[Version]:
        """Copy versions into another registry: the same bytes and digests, numbers of its own.

        Tags and notes, where it came from and what its journals said of it go along
        (`Version.copied_from`), and so does a withdrawal; stages and aliases do not. What is
        there already is not copied again, so a copy that was interrupted can be repeated.

        Args:
            what: A reference, a version, a model with all of its versions, or a list.
            to: The registry to copy into.

        Returns:
            The copy, or for a model or a list the copies in order.

        Raises:
            NotFoundError: There is no such version.
            IntegrityError: A byte of it is not the committed one; it was not copied.
            ConflictError: Both places are one registry, copied as a folder; see `fork`.
        """
        if not isinstance(to, Registry):
            raise InvalidInputError(f"to must be a Registry, found {to!r:.80}")
        items = [what] if isinstance(what, (str, Version)) else list(what)
        chosen = [self._own(item) for item in items]
        courier = Courier(self._home, self._history, to._home, to._receive)
        found = [courier.copy(version._history, version._pointer) for version in chosen]
        copies = [Version(history, pointer, to._allow) for history, pointer in found]
        return copies[0] if isinstance(what, (str, Version)) else copies

    def _own(self, item: Any) -> Version:
        if isinstance(item, str):
            return self.get(item)
        if not isinstance(item, Version):
            raise InvalidInputError(f"copy takes references and versions, found {item!r:.80}")
        if item._line.registry_id != self.id:
            raise InvalidInputError(f"{item.ref} is of another registry; copy it from there")
        return item

    def _receive(self, name: str) -> History:
        line = self._line(check_name(name, "model"))
        self._home.create_model(line.name, name)
        return self._history(line.name)

    def fork(self, *, reason: str) -> str:
        """Give a copied folder an id of its own, before it is written to; the id is returned.

        Two places of one id can never be told apart again once both are written to. That a folder
        is a copy cannot be seen from the inside, so nothing but you can know when to call this.

        Raises:
            NotARegistryError: The place is empty.
        """
        found = self._home.fork(check_text(reason, "reason"))
        self._histories = {}
        return found

    # ---- upkeep

    def verify(self, *, since: Checkpoint | str | os.PathLike[str] | None = None) -> VerifyReport:
        """Check every digest, every chain, and that every number is explained.

        Args:
            since: A checkpoint, its three lines, or the path of the file that holds them. A
                journal that was cut off, rolled back or rewritten since is found and named.

        Raises:
            InvalidInputError: The checkpoint is another registry's, or none.
        """
        pinned = None if since is None else read_checkpoint(since)
        return verify_registry(self._home, lambda name: self._history(name).line, since=pinned)

    def checkpoint(self) -> Checkpoint:
        """Give three lines to keep elsewhere, such as in git, that pin what every journal says.

        Without one nobody can tell a journal that was cut off from one that was never longer.

        Raises:
            NotARegistryError: The place is empty.
        """
        return pin(self._home, [history.line for history in self._all()])

    def gc(self, *, older_than: timedelta = upkeep.DAY, dry_run: bool = False) -> upkeep.GcReport:
        """Clear what crashes left: claims without a commit, bytes of deleted versions, temporaries.

        Args:
            older_than: Leave what is younger; a save that is slower than this claims another
                number.
            dry_run: Only tell what would be done.
        """
        lines = [history.line for history in self._all()]
        return upkeep.gc(self._home, lines, older_than=older_than, dry_run=dry_run)

    def usage(self) -> upkeep.Usage:
        """Count versions and bytes of each model."""
        return upkeep.usage(self._all())
