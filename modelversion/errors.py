"""The errors of modelversion, grouped by what a caller does next.

Every class derives from `ModelVersionError` and, where one fits, from the built-in that a
caller would already catch.
"""

from __future__ import annotations

import sys
from typing import Any


class ModelVersionError(Exception):
    """Base of every error that modelversion raises.

    Its text and its `repr` are without what is secret by the rules of the redaction: a message
    says what was found, and that may be a token in the wrong place.
    """

    def __str__(self) -> str:
        # KeyError prints the repr of its argument; a message is to be read.
        return _without_secrets(str(self.args[0])) if self.args else type(self).__name__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


def _without_secrets(text: str) -> str:
    """Mask a message, by the rules that every registry and run has loaded."""
    rules: Any = sys.modules.get(f"{__package__}.redaction")
    masked = getattr(rules, "masked", None)  # not there while the rules are being imported
    return text if masked is None else str(masked(text))


# ---- bad input: correct the call -------------------------------------------------------------


class InvalidInputError(ModelVersionError, ValueError):
    """A value was refused before anything was written; the message names the field."""


class InvalidNameError(InvalidInputError):
    """A model, alias, tag or metric name is outside the allowed characters."""


class InvalidReferenceError(InvalidInputError):
    """A reference such as `churn:3` or `churn@production` does not parse."""


class InvalidPathError(InvalidInputError):
    """An artifact path is absolute, escapes its version, or cannot exist on every system."""


class InvalidValueError(InvalidInputError, TypeError):
    """A param, metric, tag or note cannot be stored as what it is."""


class FingerprintError(InvalidInputError, TypeError):
    """An object, or a part of it, has no data hash."""


class PolicyError(InvalidInputError):
    """A policy, or a list of stages, is none or can never be met."""


class QueryError(InvalidInputError):
    """A `where` or `order_by` does not parse; the message points at the place."""


# ---- not there: ask for something else ---------------------------------------------------------


class NotFoundError(ModelVersionError, KeyError):
    """Base of the errors for names that nothing answers to."""


class ModelNotFoundError(NotFoundError):
    """The registry has no model of that name."""


class VersionNotFoundError(NotFoundError, IndexError):
    """The model has no such version, or it was deleted."""


class AliasNotFoundError(NotFoundError):
    """The model has no alias of that name."""


class StageNotFoundError(NotFoundError):
    """The registry has no stage of that name."""


class ArtifactNotFoundError(NotFoundError, FileNotFoundError):
    """The version has no file of that path."""


class DataNotFoundError(NotFoundError, FileNotFoundError):
    """A path or URL of data leads to nothing."""


class MetricNotFoundError(NotFoundError):
    """The version has no metric of that name."""


class ObjectNotFoundError(NotFoundError):
    """The version was committed without an object, so there is nothing to load."""


# ---- refused: the state does not allow it ------------------------------------------------------


class ConflictError(ModelVersionError, RuntimeError):
    """A decision was refused because of what the journal says now."""


class InUseError(ConflictError):
    """A version is held by an alias, or shares its bytes with others."""


class DataChangedError(ConflictError):
    """A file of data is not the one that was hashed when it was opened."""


class StageMovedError(ConflictError):
    """Another version is in the stage than `if_current` names, or than a roll-back was to leave.

    Attributes:
        current: The number of the version that is there, None if there is none.
    """

    def __init__(self, message: str, *, current: int | None = None) -> None:
        super().__init__(message)
        self.current = current


class GateFailedError(ConflictError):
    """A promotion does not meet what is asked of it; nothing was changed.

    Attributes:
        report: The `GateReport`, with a line for each gate.
    """

    def __init__(self, message: str, *, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class ApprovalError(ConflictError):
    """An approval does not count: it is by the author, or there is none to withdraw."""


class RollbackError(ConflictError):
    """There is no earlier version that is fit to be rolled back to."""


class NoActiveRunError(ModelVersionError, RuntimeError):
    """A `log_*` function was called outside a tracked run."""


# ---- saving failed: the result is kept ----------------------------------------------------------


class SaveError(ModelVersionError, RuntimeError):
    """A version could not be committed; nothing that readers can see was left.

    Where the error's cause is an `OutcomeUnknownError`, the message says so: the version may be
    seen, and a second look decides.

    Attributes:
        value: The object that was to be saved (for `track`, what the function returned).
        spooled_at: Folder with the complete bytes of the version, or None if there are none.
            `modelversion.open_directory` reads it.
    """

    def __init__(self, message: str, *, value: Any = None, spooled_at: str | None = None) -> None:
        super().__init__(message)
        self.value = value
        self.spooled_at = spooled_at


class UnpicklableError(SaveError, TypeError):
    """A part of the object cannot be pickled; the message gives the path to it.

    Attributes:
        path: Where the part sits, such as `object.steps[0][1].lock`.
    """

    def __init__(self, message: str, *, value: Any = None, path: str = "object") -> None:
        super().__init__(message, value=value)
        self.path = path


class SecretError(SaveError, ValueError):
    """Something to be saved holds a secret; the message has the path to it, never the secret.

    Attributes:
        path: Where it sits, such as `object.steps[0].api_key` or `artifacts/train.log`.
        rule: How it was recognised, such as `aws-access-key` or `environment:HF_TOKEN`.
    """

    def __init__(self, message: str, *, value: Any = None, path: str = "", rule: str = "") -> None:
        super().__init__(message, value=value)
        self.path = path
        self.rule = rule


class UnloadableError(SaveError):
    """`verify="load"` could not load the object in a fresh process."""


# ---- what is stored is not what was committed ---------------------------------------------------


class IntegrityError(ModelVersionError, ValueError):
    """Stored bytes are not the committed ones; nothing of them was unpickled."""


class FileMissingError(IntegrityError):
    """A file that the version lists is not there."""


class SizeMismatchError(IntegrityError):
    """A file is shorter or longer than was committed."""


class DigestMismatchError(IntegrityError):
    """A file has the right size and other bytes than were committed."""


class OriginMismatchError(IntegrityError):
    """A version directory stands under a number, model or registry that is not its own."""


class RecordError(IntegrityError):
    """A JSON record does not parse or lacks a field; the message carries the JSON path."""


class JournalError(IntegrityError):
    """A journal is not one unbroken chain."""


class JournalGapError(JournalError):
    """An entry is missing below the head of a journal."""


class JournalForkError(JournalError):
    """An entry does not continue the entry before it."""


class JournalRewoundError(JournalError):
    """A journal is shorter, or other, than this handle has seen it."""


class NewerFormatError(ModelVersionError, RuntimeError):
    """The data was written by a newer modelversion than this one can read or extend."""


class UnknownEventError(NewerFormatError):
    """A journal holds an event that must be understood and is not."""


class UntrustedPickleError(ModelVersionError, PermissionError):
    """Loading would run pickled code that the reader has not allowed, or give forged objects.

    Attributes:
        globals: The names, as `module:qualname`, that are not allowed, or not in this way.
    """

    def __init__(self, message: str, *, globals: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.globals = globals


# ---- the place ---------------------------------------------------------------------------------


class StorageError(ModelVersionError, OSError):
    """The filesystem failed or refused; the message names the place."""


class UnsafeFilesystemError(StorageError):
    """The filesystem gives no create-once write, so nothing is written to it."""


class NotARegistryError(StorageError):
    """The folder holds something else than a registry."""


class ReadOnlyError(StorageError, PermissionError):
    """The place cannot be written by this user."""


class StorageFullError(StorageError):
    """No space, inode or quota is left at the place."""


class ForeignProcessError(StorageError):
    """A memory registry is used outside the process that made the handle."""


class OutcomeUnknownError(StorageError):
    """Whether a write happened is not known; the message says what a second look must check."""


# ---- warnings -----------------------------------------------------------------------------------


class ModelVersionWarning(UserWarning):
    """Base of the warnings of modelversion."""


class WithdrawnWarning(ModelVersionWarning):
    """A withdrawn version was loaded."""


class PickleWarning(ModelVersionWarning):
    """What was saved in a remote registry cannot be loaded there without `allow_pickle`."""


class SecretWarning(ModelVersionWarning):
    """A file of a run was left out, because it holds a secret."""


class TextArtifactWarning(ModelVersionWarning):
    """An artifact was given as text that is the name of a file, and is kept as text."""


class HookFailedWarning(ModelVersionWarning):
    """A hook raised; what it was told of is done all the same."""


class LiveVersionWarning(ModelVersionWarning):
    """A version that is in a stage was withdrawn; it stays there until something is done."""


class UnequalTestsWarning(ModelVersionWarning):
    """The best by a metric was measured on other test data than versions that it is better than."""


class StageMovedWarning(ModelVersionWarning):
    """Another promotion came first; this one was judged again against it and went on."""


class BytesLeftWarning(ModelVersionWarning):
    """A version is deleted, and some of its bytes are still there; a gc removes them."""


class BrokenJournalWarning(ModelVersionWarning):
    """A model's journal cannot be read; the others are given without it."""


class NothingRecordedWarning(ModelVersionWarning):
    """A tracked function gave nothing to commit."""
