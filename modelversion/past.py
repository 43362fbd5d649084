"""A model, or a registry, as it was at a moment: stages, aliases, tags, which versions there were.

Each journal is read up to the moment; what was appended since is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, TypeVar

from modelversion._json import decode
from modelversion.broken import Broken, Problem
from modelversion.errors import (
    AliasNotFoundError,
    ModelNotFoundError,
    VersionNotFoundError,
)
from modelversion.history import History
from modelversion.home import Home
from modelversion.judging import Shelf
from modelversion.records import Entry
from modelversion.refs import LATEST, check_name, check_selector
from modelversion.schema import Json, from_json
from modelversion.serializers import Allow
from modelversion.stages import Decisions
from modelversion.state import FACTS, MODELS, Facts, Models, Pointer
from modelversion.timeline import read
from modelversion.version import Version
from modelversion.versions import Line, live_numbers

Told = TypeVar("Told")


class ModelAt:
    """A model at a moment: `churn.at("2026-11-01")["production"]`.

    The versions that it gives are those of now: what was deleted since cannot be loaded.
    """

    def __init__(self, history: History, when: str, allow: Allow | None = None) -> None:
        self._history = history
        self._line: Line = history.line
        self._allow = allow
        self.when = when

    def __repr__(self) -> str:
        return f"<ModelAt {self._line.display} at {self.when}>"

    @property
    def open(self) -> bool:
        """True while the moment is still to come: what is told of it may change until then."""
        return self.when > self._line.home.now()

    @cached_property
    def _decided(self) -> Decisions:
        return read(self._history).at(self.when)

    @cached_property
    def _entries(self) -> list[Json]:
        journal = self._line.facts
        entries = journal.history(journal.start(), journal.head())
        return [entry for entry in entries if entry["time"] <= self.when]

    @cached_property
    def _facts(self) -> Facts:
        state = Facts()
        for entry in self._entries:
            state = FACTS.step(state, from_json(Entry, entry, f"entry {entry['position']}"))
        return state

    @property
    def stages(self) -> dict[str, list[int]]:
        """The stages in their order: name -> the versions that were in it."""
        return {name: list(self._decided.stage(name).live) for name in self._decided.stage_names()}

    @property
    def aliases(self) -> dict[str, int]:
        """The aliases: name -> number."""
        held = self._decided.aliases
        return {alias: held[alias].number for alias in sorted(held)}

    @property
    def withdrawn(self) -> dict[int, str]:
        """The versions that were withdrawn: number -> reason."""
        return {number: why.reason for number, why in sorted(self._decided.withdrawn.items())}

    @property
    def numbers(self) -> list[int]:
        """The versions that there were, lowest first."""
        return sorted(live_numbers(self._facts, self._decided))

    def tags(self, number: int) -> Mapping[str, Any]:
        """Give the tags that a version had.

        Raises:
            VersionNotFoundError: It was not there then.
        """
        held = self[number]._pointer
        saved = Shelf(self._history).row(held).get("tags", {})
        position = self._entries[-1]["position"]
        tags = self._history.refresh().tags_at(number, position, saved)
        return {name: decode(value) for name, value in tags.items()}

    def __getitem__(self, selector: int | str) -> Version:
        """Give a version by number, stage or alias, or the latest of then.

        Raises:
            VersionNotFoundError: It was not there, or the stage was empty.
            AliasNotFoundError: There was no such stage or alias.
        """
        chosen = check_selector(selector, f"{self._line.display} at a moment")
        return Version(self._history, self._pointer(chosen), self._allow)

    def _pointer(self, selector: int | str) -> Pointer:
        if isinstance(selector, str) and selector != LATEST:
            return self._named(selector)
        numbers = self.numbers
        number = selector if isinstance(selector, int) else (numbers or [0])[-1]
        if number not in numbers:
            shown = LATEST if isinstance(selector, str) else selector
            raise VersionNotFoundError(
                f"{self._line.display} had no version {shown} at {self.when}; "
                f"versions: {', '.join(map(str, numbers[-5:])) or 'none'}"
            )
        return self._history.refresh().pointer(number)

    def _named(self, name: str) -> Pointer:
        state = self._decided
        held = state.live(name) or (
            None if name in state.stage_names() else state.aliases.get(name)
        )
        if held is not None:
            return held
        if name in state.stage_names():
            raise VersionNotFoundError(
                f"no version of {self._line.display} was in {name} at {self.when}"
            )
        raise AliasNotFoundError(
            f"{self._line.display} had no stage or alias {name!r} at {self.when}; stages: "
            f"{', '.join(state.stage_names())}; aliases: {', '.join(state.aliases) or 'none'}"
        )

    def to_dict(self) -> Json:
        """Give it as plain JSON."""
        return {
            "model": self._line.display,
            "when": self.when,
            "open": self.open,
            "stages": self.stages,
            "aliases": self.aliases,
            "numbers": self.numbers,
            "withdrawn": {str(number): reason for number, reason in self.withdrawn.items()},
        }

    def __str__(self) -> str:
        said = [
            f"{name}: {', '.join(map(str, there)) or 'nothing'}"
            for name, there in self.stages.items()
        ]
        said += [f"{alias} -> {number}" for alias, number in self.aliases.items()]
        note = " (not over yet: as of now)" if self.open else ""
        return "\n".join([f"{self._line.display} at {self.when}{note}", *said])


class RegistryAt(Mapping[str, ModelAt]):
    """A registry at a moment: the models that there were, each as it was."""

    def __init__(self, home: Home, when: str, histories: Mapping[str, History]) -> None:
        self._home = home
        self._histories = histories
        self.when = when

    @cached_property
    def _state(self) -> Models:
        journal, state = self._home.policies(), Models()
        entries = [] if journal is None else journal.history(journal.start(), journal.head())
        for entry in entries:
            if entry["time"] <= self.when:
                state = MODELS.step(state, from_json(Entry, entry, f"entry {entry['position']}"))
        return state

    @property
    def rules(self) -> Json:
        """The stages and policies that the registry had, as plain JSON."""
        rules = self._state.rules
        return {
            "stages": list(rules.stages),
            "shared": list(rules.shared),
            "policies": rules.policies,
        }

    def __getitem__(self, name: str) -> ModelAt:
        """Give a model as it was.

        Raises:
            ModelNotFoundError: There was none of that name.
        """
        key = check_name(name, "model")
        if key not in self._state.names:
            raise ModelNotFoundError(f"there was no model {name!r} at {self.when}")
        return ModelAt(self._histories[key], self.when)

    def __iter__(self) -> Iterator[str]:
        return iter(self._state.names[name] for name in sorted(self._state.names))

    def __len__(self) -> int:
        return len(self._state.names)

    def __repr__(self) -> str:
        return f"<RegistryAt {self._home.store.url} at {self.when}: {len(self)} models>"

    def __str__(self) -> str:
        told, problems = self._each(str)
        lines = [f"{self._home.store.url} at {self.when}", *map(str, problems), *told.values()]
        return "\n".join(lines)

    def _each(self, tell: Callable[[ModelAt], Told]) -> tuple[dict[str, Told], tuple[Problem, ...]]:
        """Tell something of each model, and name those that cannot be read."""
        broken, told = Broken(), dict[str, Told]()
        for name, model in self.items():
            with broken.aside(model._line.facts, model._line.decisions):
                told[name] = tell(model)
        return told, broken.problems

    def to_dict(self) -> Json:
        """Give it as plain JSON; `broken` names the journals that cannot be read."""
        models, problems = self._each(ModelAt.to_dict)
        return {
            "when": self.when,
            "rules": self.rules,
            "models": models,
            "broken": [problem.to_dict() for problem in problems],
        }
