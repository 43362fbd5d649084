"""What an event says was done, in words: one phrase for each kind. Pure, and it never raises."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from modelversion.errors import ModelVersionError
from modelversion.policies import policy_from
from modelversion.schema import Json

Ref = Callable[[int], str]

PHRASES = {
    "alias.deleted": "deleted the alias {alias}",
    "alias.set": "let {alias} name {ref}",
    "approval.withdrawn": "withdrew what was said of {ref} for {stage}",
    "model.created": "made the model {display}",
    "observation.added": "measured {ref} where it serves",
    "policy.adopted": "adopted the registry's policies as of {position}",
    "policy.set": "set the policy of {stage}: {policy}",
    "registry.forked": "forked the registry {previous}",
    "stage.cleared": "cleared {stage} of {refs}",
    "stage.frozen": "froze {stage}{until}",
    "stage.promoted": "promoted {ref} to {stage}{instead}",
    "stage.rolled_back": "rolled {stage} back to {ref}{instead}",
    "stage.unfrozen": "unfroze {stage}",
    "stages.set": "set the stages: {stages}",
    "version.abandoned": "gave up {ref}, which was never committed",
    "version.approved": "approved {ref} for {stage}",
    "version.committed": "{saved} {ref}{origin}",
    "version.deleted": "deleted {ref}",
    "version.noted": "noted of {ref}: {text}",
    "version.rejected": "rejected {ref} for {stage}",
    "version.repeated": "saved {ref} once more",
    "version.restored": "restored {ref}",
    "version.tagged": "tagged {ref}: {tags}",
    "version.withdrawn": "withdrew {ref}{favour}",
}


def phrase(event: Json, ref: Ref) -> str:
    """Say what was done, without who and why.

    Args:
        event: The event as stored; it may be forged, and then says `?` where it makes no sense.
        ref: Gives the reference of a number, such as `churn:3`.
    """
    said = PHRASES.get(str(event.get("kind")), "{kind}").format_map(_Words(event, ref))
    return "".join(c if c.isprintable() else " " for c in said)


# A forged entry is void, and must not keep the rest from being told.
_MALFORMED = (AttributeError, KeyError, TypeError, ValueError, ModelVersionError)


class _Words(dict[str, Any]):
    """What a phrase may name: words made of an event, else its own fields."""

    def __init__(self, event: Json, ref: Ref) -> None:
        super().__init__()
        self._event, self._ref = event, ref

    def __missing__(self, name: str) -> Any:
        try:
            made = _MADE.get(name)
            return self._event[name] if made is None else made(self._event, self._ref)
        except _MALFORMED:
            return "?"


def _refs(numbers: Iterable[int], ref: Ref) -> str:
    return ", ".join(map(ref, numbers))


def _instead(event: Json, ref: Ref) -> str:
    replaced = event.get("replaces")
    return f" instead of {_refs(replaced, ref)}" if replaced else ""


def _tags(event: Json, ref: Ref) -> str:
    changed = [f"{name}={value}" for name, value in event.get("set", {}).items()]
    return ", ".join([*changed, *(f"no {name}" for name in event.get("removed", ()))])


def _origin(event: Json, ref: Ref) -> str:
    copied = event.get("copied_from")
    if not copied:
        return ""
    return f" from {copied['model']}:{copied['number']} of {copied['registry']}"


def _favour(event: Json, ref: Ref) -> str:
    number = event.get("use_instead")
    return "" if number is None else f" in favour of {ref(number)}"


_MADE: dict[str, Callable[[Json, Ref], str]] = {
    "instead": _instead,
    "origin": _origin,
    "policy": lambda event, ref: str(policy_from(event["policy"], "policy")),
    "ref": lambda event, ref: ref(event["number"]),
    "refs": lambda event, ref: _refs(event["numbers"], ref),
    "saved": lambda event, ref: "copied" if event.get("copied_from") else "saved",
    "stages": lambda event, ref: ", ".join(event["stages"]),
    "tags": _tags,
    "until": lambda event, ref: f" until {event['until']}" if event.get("until") else "",
    "favour": _favour,
}
