"""What drivers raise, as one error of ours that says which place and what to check.

Drivers translate some errors of a server to built-in ones and pass others through, so the
whole chain of causes is looked at: for a status, an error code, and a time-out.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

from modelversion.errors import ModelVersionError, ReadOnlyError, StorageError, StorageFullError
from modelversion.redaction import masked

_NO_BUCKET = frozenset(["NoSuchBucket", "ContainerNotFound"])
_FULL = frozenset(["QuotaExceeded", "InsufficientCapacity", "AccountIsDisabled"])
_READS = frozenset(["read", "list", "open"])
_LONGEST = 300
# What HTTP clients and paramiko call an answer that did not come, or not to its end.
_BROKEN_OFF = frozenset(
    [
        "ClientPayloadError",
        "IncompleteRead",
        "IncompleteReadError",
        "ServerDisconnectedError",
        "ServiceRequestError",
        "ServiceResponseError",
        "SSHException",
    ]
)
# aiohttp gives these a code of its own, which no server has answered.
_TORN = frozenset(["ContentLengthError", "PayloadEncodingError", "TransferEncodingError"])


def explain(e: BaseException, verb: str, place: str) -> ModelVersionError:
    """Give the error that says which place failed and what to check.

    Args:
        e: What the driver raised.
        verb: What was asked: read, list, open, write, remove.
        place: The URL, with the key where there is one.
    """
    if isinstance(e, ModelVersionError):
        return e
    text = f"cannot {verb} {place}: {_text(e)}"
    if missing_bucket(e) or (isinstance(e, FileNotFoundError) and verb not in _READS):
        return StorageError(f"{text}; the bucket does not exist: make it, or correct the URL")
    # Ceph answers a quota that is used up with 403, like one who may not.
    if is_full(e):
        return StorageFullError(f"{text}; free space there")
    if is_denied(e):
        cls = StorageError if verb in _READS else ReadOnlyError
        return cls(
            f"{text}; the credentials are wrong, or may not {verb} there: check "
            "storage_options, the credentials of the environment, and the policy of the place"
        )
    if is_unreachable(e):
        return StorageError(
            f"{text}; no answer came: check the address in the URL and in storage_options, the "
            "network, and that the server runs"
        )
    return StorageError(text)


def status_of(e: BaseException) -> int | None:
    """Give the HTTP status that an error goes back to, None if it tells of none."""
    for one in _chain(e):
        if type(one).__name__ in _TORN:
            continue
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) or None
        for name in ("status_code", "status", "code"):
            value = getattr(one, name, None)
            if str(value).isdigit():
                return int(str(value))
        if str(one).startswith("Forbidden: "):  # gcsfs keeps no more of a 403 than this
            return 403
    return None


def missing_bucket(e: BaseException) -> bool:
    """Tell whether the bucket, not the key, is what is not there."""
    return any(code in _NO_BUCKET for code in _codes(e))


def is_full(e: BaseException) -> bool:
    """Tell whether there is no room left."""
    return any(code in _FULL for code in _codes(e)) or _errno(e) in (errno.ENOSPC, errno.EDQUOT)


def is_denied(e: BaseException) -> bool:
    """Tell whether the server refused who we are or what we may do."""
    return status_of(e) in (401, 403) or any(
        isinstance(one, PermissionError)
        or type(one).__name__ in ("NoCredentialsError", "AuthenticationException")
        for one in _chain(e)
    )


def is_unreachable(e: BaseException) -> bool:
    """Tell whether no answer came, or not all of it."""
    return status_of(e) is None and any(
        isinstance(one, (TimeoutError, ConnectionError, EOFError))
        or "Timeout" in type(one).__name__
        or "Connection" in type(one).__name__
        or type(one).__name__ in _BROKEN_OFF
        or str(one) == "Socket is closed"  # a plain OSError of paramiko's
        for one in _chain(e)
    )


def passes(e: StorageError) -> bool:
    """Tell whether asking again may help: no answer came, or not all of it, or a bad moment."""
    cause = e.__cause__
    return cause is not None and (is_unreachable(cause) or (status_of(cause) or 0) >= 500)


def _codes(e: BaseException) -> Iterator[str]:
    for one in _chain(e):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            yield str(response.get("Error", {}).get("Code"))
        yield str(getattr(one, "error_code", ""))


def _errno(e: BaseException) -> int | None:
    return next((one.errno for one in _chain(e) if isinstance(one, OSError) and one.errno), None)


def _chain(e: BaseException | None) -> Iterator[Any]:
    seen: list[BaseException] = []
    while e is not None and e not in seen:
        yield e
        seen.append(e)
        e = e.__cause__ or e.__context__


def _text(e: BaseException) -> str:
    """Give the first line of an error, with its type where it has no words of its own.

    Of a time that ran out, what was answered before it did.
    """
    words = _words(e)
    if not words or isinstance(e, KeyError) or type(e) is TimeoutError:
        words = f"{type(e).__name__} {words}".strip()
    if isinstance(e, TimeoutError):
        before = [told for one in _chain(e) if one is not e and (told := _words(one))]
        words += f"; before that: {before[0]}" if before else ""
    return masked(words)[:_LONGEST]


def _words(e: BaseException) -> str:
    return next((line.strip() for line in str(e).splitlines() if line.strip()), "")
