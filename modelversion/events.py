"""What is decided about stages: the events of promotions, roll-backs, approvals and policies.

Other events stand in `records`. All of these must be understood: who skips one of them would
take another version for the one in production.
"""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from modelversion.schema import OPTIONAL_TEXT, Json, json_object, plain, record, texts


def _numbers() -> Any:
    """A field of a list of version numbers."""
    return plain((list, tuple), (), tuple)


# ---- of the whole registry: in its own journal ---------------------------------------------------


@record
class StagesSet:
    """The registry's stages from now on, in order, and which of them are shared."""

    kind: ClassVar[str] = "stages.set"
    must_understand: ClassVar[bool] = True
    stages: tuple[str, ...] = texts()
    shared: tuple[str, ...] = texts()
    extra: Json = attrs.field(factory=dict)


@record
class PolicySet:
    """The policy of a stage from now on; an empty one lifts it."""

    kind: ClassVar[str] = "policy.set"
    must_understand: ClassVar[bool] = True
    stage: str = plain(str)
    policy: Json = json_object()
    extra: Json = attrs.field(factory=dict)


# ---- of one model: in its decisions --------------------------------------------------------------


@record
class PolicyAdopted:
    """The model is governed by the registry's stages and policies as of a position.

    They are repeated here, so that a model's decisions can be read by themselves.
    """

    kind: ClassVar[str] = "policy.adopted"
    must_understand: ClassVar[bool] = True
    position: int = plain(int)
    digest: str = plain(str)
    stages: tuple[str, ...] = texts()
    shared: tuple[str, ...] = texts()
    policies: Json = json_object()
    extra: Json = attrs.field(factory=dict)


@record
class Promoted:
    """A version is in a stage from now on, bound to its `version.json`.

    `replaces` is what was in the stage when this was decided, `judged` what was asked of the
    version and found: all that is needed to judge it again.
    """

    kind: ClassVar[str] = "stage.promoted"
    must_understand: ClassVar[bool] = True
    stage: str = plain(str)
    number: int = plain(int)
    nonce: str = plain(str)
    size: int = plain(int)
    sha256: str = plain(str)
    replaces: tuple[int, ...] = _numbers()
    reason: str | None = plain(OPTIONAL_TEXT, None)
    override: bool = plain(bool, False)
    judged: Json = json_object()
    extra: Json = attrs.field(factory=dict)


@record
class RolledBack:
    """A version that was in the stage before is in it again; the one left behind is marked.

    `skipped` are the versions that were passed over, each with the reason; `named` says that
    the target was given and not chosen.
    """

    kind: ClassVar[str] = "stage.rolled_back"
    must_understand: ClassVar[bool] = True
    stage: str = plain(str)
    number: int = plain(int)
    nonce: str = plain(str)
    size: int = plain(int)
    sha256: str = plain(str)
    replaces: tuple[int, ...] = _numbers()
    reason: str = plain(str)
    named: bool = plain(bool, False)
    skipped: tuple[Json, ...] = _numbers()
    extra: Json = attrs.field(factory=dict)


@record
class StageCleared:
    """Versions left a stage and nothing took their place."""

    kind: ClassVar[str] = "stage.cleared"
    must_understand: ClassVar[bool] = True
    stage: str = plain(str)
    numbers: tuple[int, ...] = _numbers()
    reason: str = plain(str)
    extra: Json = attrs.field(factory=dict)


@record
class StageFrozen:
    """Nothing is promoted to a stage until a time, or until it is unfrozen."""

    kind: ClassVar[str] = "stage.frozen"
    must_understand: ClassVar[bool] = True
    stage: str = plain(str)
    reason: str = plain(str)
    until: str | None = plain(OPTIONAL_TEXT, None)
    extra: Json = attrs.field(factory=dict)


@record
class StageUnfrozen:
    """Promotions to a stage are possible again."""

    kind: ClassVar[str] = "stage.unfrozen"
    must_understand: ClassVar[bool] = True
    stage: str = plain(str)
    reason: str = plain(str)
    extra: Json = attrs.field(factory=dict)


@record
class VersionApproved:
    """Somebody approves that a version, of this digest, is promoted to a stage."""

    kind: ClassVar[str] = "version.approved"
    must_understand: ClassVar[bool] = True
    stage: str = plain(str)
    number: int = plain(int)
    sha256: str = plain(str)
    reason: str = plain(str)
    extra: Json = attrs.field(factory=dict)


@record
class VersionRejected:
    """Somebody objects to a version in a stage; that blocks it until it is withdrawn."""

    kind: ClassVar[str] = "version.rejected"
    must_understand: ClassVar[bool] = True
    stage: str = plain(str)
    number: int = plain(int)
    sha256: str = plain(str)
    reason: str = plain(str)
    extra: Json = attrs.field(factory=dict)


@record
class ApprovalWithdrawn:
    """Somebody takes an approval or a rejection of their own back."""

    kind: ClassVar[str] = "approval.withdrawn"
    must_understand: ClassVar[bool] = True
    stage: str = plain(str)
    number: int = plain(int)
    reason: str = plain(str)
    extra: Json = attrs.field(factory=dict)
