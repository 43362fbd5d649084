"""Which names say that the text under them is a secret.

A name is split into words at `_`, `-`, `.`, other signs, digits and changes of case, and judged
by whole words: `tokenizer` and `secretary` are other words than `token` and `secret`.
"""

from __future__ import annotations

import functools
import itertools
import re

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_RUN_TOGETHER = re.compile(
    r".*(?:password|passwd|passphrase|apikey|secretkey|accesskey|privatekey|authtoken"
    r"|accesstoken|apitoken|clientsecret)"
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ALONE = _words(
    """
    password passwd passphrase passcode pwd secret credential apikey authorization bearer creds
    cred
    """
)
_KEYS = _words(
    """
    api secret access private encryption decryption signing account storage auth ssh master
    subscription shared service deploy hmac aes fernet webhook admin root session
    """
)
_LOGINS = _words(
    """
    db database user smtp mail email ftp mysql pg postgres redis mongo admin root proxy http
    """
)
_PAIRS = frozenset(
    [
        *((kind, "key") for kind in _KEYS),
        *((kind, "pass") for kind in _LOGINS),
        ("access", "signature"),
        ("auth", "cookie"),
        ("basic", "auth"),
        ("http", "auth"),
        ("session", "cookie"),
    ]
)
# What makes several tokens secret; by itself the word is one for pieces of text.
_GRANTING = _words(
    """
    access api app auth bearer bot deploy id oauth personal refresh sas security service session
    user webhook
    """
)
# A token before or behind one of these is a piece of text, or something about tokens.
_TEXT_BEFORE = _words(
    """
    added additional audio begin blank bos boundary class cls decoder end eoi eos eot extra
    first forced fill image last mask max min n new next num oov pad padding per prefix prev
    previous sep separator special start stop suffix target unk unknown video vocab word
    """
)
_TEXT_BEHIND = _words(
    """
    budget classification classifier column count counts dim dropout embedding embeddings ids id
    idx index level map mask merging mixer mixing normalization pattern position processor regex
    shift split splitter strategy weight weights
    """
)
# A name that ends so says something about a secret, and does not hold it.
_ABOUT = _words(
    """
    arn class count dir directory endpoint enabled env exists expires expiration expiry field
    file filename folder label len length lifetime limit manager max min name path policy
    provider region required rotation size timeout ttl type types uri url validator var variable
    """
)
_PLURALS = {f"{word}s": word for word in ("key", "password", "secret", "credential", "signature")}
_PLURALS |= {"apikeys": "apikey", "passwords": "password", "passphrases": "passphrase"}


@functools.lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Tell whether a name says that the text under it is a secret.

    >>> is_secret_name("db_password"), is_secret_name("openaiApiKey"), is_secret_name("HF_TOKEN")
    (True, True, True)
    >>> is_secret_name("tokenizer"), is_secret_name("max_tokens"), is_secret_name("primary_key")
    (False, False, False)
    """
    words = [_PLURALS.get(word, word) for word in map(str.lower, _WORD.findall(name[:500]))]
    if not words or (len(words) > 1 and words[-1] in _ABOUT):
        return False
    if any(word in _ALONE or _RUN_TOGETHER.fullmatch(word) for word in words):
        return True
    if any(pair in _PAIRS for pair in itertools.pairwise(words)):
        return True
    return _grants(words)


def _grants(words: list[str]) -> bool:
    """Tell whether the words name a token that grants something, not one of a text."""
    for i, word in enumerate(words):
        before = words[i - 1] if i else ""
        behind = words[i + 1] if i + 1 < len(words) else ""
        if word == "token" and before not in _TEXT_BEFORE and behind not in _TEXT_BEHIND:
            return True
        if word == "tokens" and before in _GRANTING:
            return True
    return False
