"""A registry: a place on a filesystem that holds models.

What it works with is imported when a registry is opened or used, and not with this module: the
import of modelversion is in the way of every script, whether it saves or not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, overload

from modelversion.display import Page, Shown
from modelversion.errors import (
    InvalidInputError,
    ModelNotFoundError,
    ModelVersionError,
    NotFoundError,
)
from modelversion.mode import is_disabled, warn_of_rank
from modelversion.moments import moment
from modelversion.nothing import NOTHING
from modelversion.oversight import Oversight
from modelversion.refs import check_name, parse

if TYPE_CHECKING:
    from modelversion.history import History
    from modelversion.model import Model
    from modelversion.past import RegistryAt
    from modelversion.run import Run
    from modelversion.serializers import Allow
    from modelversion.storage.cache import Cache, Copies
    from modelversion.table import Versions
    from modelversion.tracking import F
    from modelversion.version import Version
    from modelversion.versions import Line


def utc_now() -> datetime:
    """Give the time in UTC."""
    return datetime.now(UTC)


class Registry(Oversight, Shown):
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
        cache: bool | str | os.PathLike[str] | Cache | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Open a registry.

        Args:
            url: A folder, any fsspec URL or a UPath. Without one: `$MODELVERSION_REGISTRY`,
                `[tool.modelversion] registry` of a pyproject.toml above, an existing
                `model-registry/` above, else `./model-registry`.
            actor: Who acts; else `$MODELVERSION_ACTOR`, the CI's actor, or user@host.
            allow_pickle: What loading may run: True (default for local folders and memory),
                False (default elsewhere), or a list of exact names as `"module:name"`.
            writers: `"single"` if no two processes ever write at once; it allows filesystems
                that cannot create a file exactly once.
            cache: Where files that were read are kept on this machine: a folder or a
                `modelversion.Cache`; True and False turn it on and off. By default it is on for
                remote places, in `$MODELVERSION_CACHE` or the user's folder for caches.
            clock: Gives the time; it orders nothing.
        """
        from modelversion import place
        from modelversion.environment import find_actor
        from modelversion.loading import check_allow
        from modelversion.source.capture import remember_script
        from modelversion.storage import open_store

        check_allow(allow_pickle)
        remember_script()
        target = place.default_url() if url is None else url
        self.__setstate__(
            {
                "store": open_store(target, storage_options=storage_options, writers=writers),
                "actor": find_actor(actor),
                "clock": clock,
                "allow": allow_pickle,
                "cache": cache,
                "default": url is None,
            }
        )

    def __getstate__(self) -> dict[str, Any]:
        return self._state

    def __setstate__(self, state: dict[str, Any]) -> None:
        from modelversion.home import Home
        from modelversion.writing import Writer

        self._state = state
        # Chosen where it is used: a handle that was sent to another machine keeps files there.
        cache = _cache(state["cache"], remote=state["store"].remote)
        self._home = Home(state["store"], state["actor"], state["clock"], cache=cache)
        self._allow: Allow | None = state["allow"]
        self._home.announces = state["default"]
        self._histories: dict[str, History] = {}
        self._writer = Writer(self._home, self._history, self._allow)

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
        """Give a model, or suggest the nearest in a `ModelNotFoundError`."""
        from modelversion.model import Model

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
        from modelversion.model import Model

        return [Model(self._history(name), self._allow) for name in self._home.models()]

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def _history(self, name: str) -> History:
        """Give the one history of a model that this handle keeps."""
        from modelversion.history import History
        from modelversion.home import no_registry
        from modelversion.versions import Line

        known = self._histories.get(name)
        if known is None:
            registry_id = self._home.id()
            if registry_id is None:
                raise ModelNotFoundError(f"no model {name!r}: {no_registry(self.url)}")
            known = self._histories.setdefault(name, History(Line(self._home, name, registry_id)))
        return known

    def at(self, when: str | date | datetime) -> RegistryAt:
        """Give the registry as it was: `registry.at("2026-11-01")["churn"]`; see `Model.at`."""
        from modelversion.past import RegistryAt

        histories = {history.line.name: history for history in self._all()}
        return RegistryAt(self._home, moment(when, "when", end=True), histories)

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
        """Save an object as the next version of a model; the same content gives the latest one.

        Args:
            name: The model's name; it is made if there is none.
            value: The object; a version may be without one.
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

        Raises:
            InvalidInputError: Something cannot be stored; nothing was written.
            UnpicklableError: A part of the object cannot be pickled; nothing was committed.
            SecretError: The object or an artifact holds a secret; nothing was committed.
            SaveError: The commit failed; the object is in `.value`, its bytes in `.spooled_at`.
        """
        from modelversion.saving import Frozen, save
        from modelversion.snapshot import check_notes
        from modelversion.source.capture import look_back, of_caller
        from modelversion.version import Version

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
            look=look_back(of_caller()),
        )
        draft = Frozen(name, notes, value, artifacts=artifacts or {}, verify=verify, new=new)
        self._home.check()
        pointer = save(self._home, draft, partial(self._line, key))
        return Version(self._history(key), pointer, self._allow)

    def _line(self, key: str) -> Line:
        self._home.ensure()
        return self._history(key).line

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
        from modelversion.tracking import check_options, track

        options = check_options(
            ignore, returns, on_error, not_secret=not_secret, allow_secrets=allow_secrets
        )
        return track(model, target=self._writer.target, options=options)

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
            params: As in `save`, like tags and description; `run.log_params` adds to them.
            parents: References or versions that it builds on; what is loaded inside is added.
            on_error: `"keep"` commits what was logged when the block raises, marked as failed.
            not_secret: As in `save`, like `allow_secrets`.

        Raises:
            InvalidInputError: Something cannot be stored.
        """
        from modelversion.notes import Setting
        from modelversion.run import Run
        from modelversion.snapshot import check_notes
        from modelversion.source.capture import of_caller
        from modelversion.tracking import check_options

        check_name(model, "model")
        notes = check_notes(
            tags=tags,
            description=description,
            parents=self._parents(parents),
            not_secret=not_secret,
            allow_secrets=allow_secrets,
        )
        setting = Setting(
            model=model,
            code=of_caller(),
            keep_failed=check_options((), (), on_error).on_error == "keep",
            tags=notes.tags,
            description=description,
            lifted=notes.lifted,
        )
        warn_of_rank(model)
        run = Run(setting, self._writer.target(), off=is_disabled())
        run.log_first(params, notes.parents)
        return run

    def _parents(self, parents: Iterable[str | Version]) -> list[str]:
        from modelversion.version import Version

        if isinstance(parents, (str, Version)) or not isinstance(parents, Iterable):
            shown = f"[{parents!r}]" if isinstance(parents, str) else "['churn:3', version]"
            found = type(parents).__name__
            raise InvalidInputError(f"parents must be a list, such as {shown}; found a {found}")
        return [p.ref if isinstance(p, Version) else self.get(p).ref for p in parents]

    # ---- reading

    def get(self, reference: str) -> Version:
        """Give the version that a reference names, also behind `models:/`.

        `churn` (the latest), `churn:3`, `churn:latest`, `churn@production` or `churn@champion`.

        Raises:
            InvalidReferenceError: It does not parse.
            NotFoundError: There is no such model, version, stage or alias.
        """
        from modelversion.version import Version
        from modelversion.versions import first_look, resolve

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

        A model whose journal cannot be read is warned of, and named in `problems`.

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
        from modelversion.broken import Broken
        from modelversion.table import Versions, select

        used = None
        if data is not None:
            from modelversion.inputs import digest_of

            used = digest_of(data)
        broken = Broken()
        rows = select(
            self._all(), where=where, order_by=order_by, limit=limit, data=used, broken=broken
        )
        broken.warn("the search is without")
        return Versions(rows, self._allow, broken.problems)

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
        there already is not copied again, so a copy that was interrupted can be repeated. A
        model, with all of its versions, and a list give the copies in order.

        Raises:
            NotFoundError: There is no such version.
            IntegrityError: A byte of it is not the committed one; it was not copied.
            ConflictError: Both places are one registry, copied as a folder; see `fork`.
        """
        from modelversion.copying import Courier
        from modelversion.version import Version

        if not isinstance(to, Registry):
            raise InvalidInputError(
                f"to must be a Registry, found a {type(to).__name__}; open one with "
                "modelversion.Registry(...)"
            )
        if isinstance(what, (str, Version)) or not isinstance(what, Iterable):
            items: list[Any] = [what]
        else:
            items = list(what)
        chosen = [self._own(item) for item in items]
        courier = Courier(self._home, self._history, to._home, to._writer.receive)
        found = [courier.copy(version._history, version._pointer) for version in chosen]
        copies = [Version(history, pointer, to._allow) for history, pointer in found]
        return copies[0] if isinstance(what, (str, Version)) else copies

    def adopt(self, version: Version, /) -> Version:
        """Copy a version of another registry into this one, or give the copy; see `copy`."""
        from modelversion.copying import Courier
        from modelversion.history import History
        from modelversion.version import Version
        from modelversion.versions import Line

        line = version._line

        def source(name: str) -> History:
            return History(Line(line.home, name, line.registry_id))

        courier = Courier(line.home, source, self._home, self._writer.receive)
        history, pointer = courier.copy(version._history, version._pointer)
        return Version(history, pointer, self._allow)

    def _own(self, item: Any) -> Version:
        from modelversion.version import Version

        if isinstance(item, str):
            return self.get(item)
        if not isinstance(item, Version) or item._line.registry_id != self.id:
            found = f"{item!r:.60}: none, or of another registry"
            raise InvalidInputError(f"copy takes references and versions, found {found}")
        return item


def _cache(word: Any, *, remote: bool) -> Copies | None:
    if word is None and not remote:
        return None
    from modelversion.storage.cache import chosen

    return chosen(word, remote=remote)
