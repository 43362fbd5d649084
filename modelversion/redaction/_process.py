"""What is secret in this process: texts that `mv.Secret` wrapped, values in its environment."""

from __future__ import annotations

import os

from modelversion.redaction._bytes import Watch
from modelversion.redaction._known import Known, known_values
from modelversion.redaction._text import redact_text
from modelversion.secret import wrapped_texts


def known_secrets() -> Known:
    """Give the texts that are secret at this moment."""
    return known_values(os.environ, wrapped_texts())


def secret_watch() -> Watch:
    """Give what looks through a stream of bytes for what is secret at this moment."""
    return Watch(known_secrets())


def masked(text: str) -> str:
    """Give a text as it may be stored or shown: without what is secret."""
    return redact_text(text, known=known_secrets())[0]
