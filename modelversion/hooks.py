"""What happened, as one record for hooks and for the feed, and the hooks of this process."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import attrs

from modelversion import current
from modelversion.errors import HookFailedWarning, InvalidInputError
from modelversion.layout import MODELS
from modelversion.records import Actor, Entry
from modelversion.schema import Json, from_json, to_json

ANY = "*"


@attrs.frozen(kw_only=True)
class Event:
    """Something that happened in a registry.

    Attributes:
        kind: What, such as `version.committed`, `alias.set` or `stage.promoted`.
        model: The model's name in lower case, None for what concerns the whole registry.
        number: The version's number, None for what concerns no single one.
        time: When: RFC 3339, UTC.
        actor: Who, and how that is known.
        journal: The folder of the journal it stands in.
        position: Its number there, from 1.
        data: All that was recorded of it, as plain JSON.
    """

    kind: str
    model: str | None
    number: int | None
    time: str
    actor: Actor
    journal: str
    position: int
    data: Json = attrs.field(repr=False)

    @property
    def ref(self) -> str | None:
        """The version or the model it is about, such as `churn:3`."""
        return self.model if self.number is None else f"{self.model}:{self.number}"

    def __str__(self) -> str:
        said = [self.time, self.actor.name, self.kind, self.ref or "the registry"]
        said += [str(self.data[name]) for name in _TOLD if self.data.get(name)]
        return "".join(c if c.isprintable() else " " for c in " ".join(said))

    def to_dict(self) -> Json:
        """Give it as plain JSON."""
        plain = attrs.asdict(self, recurse=False)
        return {**plain, "actor": to_json(self.actor), "ref": self.ref}


_TOLD = ("stage", "alias", "reason", "text")


def event_of(folder: str, entry: Json) -> Event:
    """Give what an entry of a journal says happened."""
    data = entry["event"]
    number, parts = data.get("number"), folder.split("/")
    return Event(
        kind=str(data.get("kind")),
        model=parts[1] if parts[0] == MODELS else data.get("model"),
        number=number if isinstance(number, int) else None,
        time=entry["time"],
        actor=from_json(Actor, entry["actor"], f"{folder} {entry['position']}.actor"),
        journal=folder,
        position=entry["position"],
        data={k: v for k, v in data.items() if k not in ("kind", "must_understand")},
    )


# ---- hooks ---------------------------------------------------------------------------------------

Hook = Callable[[Event], Any]


class Hooks:
    """Functions that are told of what this process has written, after it is durable."""

    def __init__(self) -> None:
        # Journals look whether there are any, so that an append without hooks costs nothing.
        self.active: list[tuple[str, Hook]] = []

    def add(self, kind: str, hook: Any) -> None:
        """Add a function for a kind of event, or for any.

        Raises:
            InvalidInputError: It is no function.
        """
        if not callable(hook):
            raise InvalidInputError(f"a hook must be callable with an event, found {hook!r:.80}")
        self.active.append((kind, hook))

    def remove(self, hook: Hook) -> None:
        """Remove a function wherever it was added; one that was not is no error."""
        self.active = [pair for pair in self.active if pair[1] != hook]

    def tell(self, folder: str, entry: Entry) -> None:
        """Call the functions; what they raise is warned of, for what they hear of is done."""
        event = event_of(folder, to_json(entry))
        for kind, hook in list(self.active):
            if kind in (ANY, event.kind):
                try:
                    hook(event)
                except Exception as e:  # noqa: BLE001 - the user's code; what it hears of is done
                    _warn(f"a hook for {event.kind} of {event.ref} failed: {e!r:.300}")


def _warn(text: str) -> None:
    try:
        warnings.warn(text, HookFailedWarning, stacklevel=current.user_level())
    except HookFailedWarning:
        return  # a filter makes warnings errors, and must not undo what is done
