"""The formats of tokens that their issuers made recognisable.

Each is written from the issuer's public description: a fixed beginning, the alphabet, the length.
A pattern is anchored, so that a part of a longer word, a digest or base64 does not look like one.
"""

from __future__ import annotations

import functools
import re

SHORTEST = 16

_WORD = r"[A-Za-z0-9_\-]"
_ALNUM = r"[A-Za-z0-9]"
_ENDS = r"(?![A-Za-z0-9])"
_WORD_ENDS = r"(?![A-Za-z0-9_\-])"

# The rule; how a token begins, in a fixed width; and how it goes on. In bytes a search stops at the
# last character of a beginning, behind which nearly all tokens have 16 more, of a few kinds only.
FORMATS: tuple[tuple[str, str, str], ...] = (
    ("age-secret-key", r"AGE-SECRET-KEY-", r"1[A-Z0-9]{58}" + _ENDS),
    ("airtable-token", rf"pat{_ALNUM}{{14}}\.", r"[a-f0-9]{64}" + _ENDS),
    ("anthropic-key", r"sk-ant-", rf"{_WORD}{{20,}}"),
    ("atlassian-token", r"ATATT3", r"[A-Za-z0-9_\-=]{60,}"),
    ("aws-access-key", r"A[KSB]I", r"A[A-Z0-9]{16}" + _ENDS),
    ("azure-client-secret", r"[A-Za-z0-9_~.\-]{3}[0-9]Q~", r"[A-Za-z0-9_~.\-]{31,34}" + _ENDS),
    ("azure-connection-string", r"AccountKey=", r"[A-Za-z0-9+/]{86}=="),
    ("azure-connection-string", r"SharedAccessKey=", r"[A-Za-z0-9+/]{43}="),
    ("databricks-token", r"dapi", r"[a-f0-9]{32}(?:-[0-9])?" + _ENDS),
    ("digitalocean-token", r"do[opr]_v1_", r"[a-f0-9]{64}" + _ENDS),
    ("docker-token", r"dckr_[po]at_", rf"{_WORD}{{27,}}"),
    ("doppler-token", r"dp\.[a-z]{2}\.", rf"(?:[a-z0-9_\-]+\.)?{_ALNUM}{{40,44}}" + _ENDS),
    ("figma-token", r"figd_", rf"{_WORD}{{38,}}"),
    ("github-token", r"gh[pousr]_", rf"{_ALNUM}{{36,251}}" + _ENDS),
    ("github-token", r"github_pat_", rf"{_ALNUM}{{22}}_{_ALNUM}{{59}}" + _ENDS),
    ("gitlab-token", r"gl(?:dt|rt|ft)-", rf"{_WORD}{{20,}}"),
    ("gitlab-token", r"gl(?:pat|cbt|ptt|imt|oas)-", rf"{_WORD}{{20,}}"),
    ("gitlab-token", r"glagent-", rf"{_WORD}{{20,}}"),
    ("google-api-key", r"AI", rf"za{_WORD}{{35}}" + _WORD_ENDS),
    ("google-oauth-secret", r"GOCSPX-", rf"{_WORD}{{28}}" + _WORD_ENDS),
    ("google-oauth-token", r"ya29\.", rf"{_WORD}{{30,}}"),
    ("grafana-token", r"glsa_", rf"{_ALNUM}{{32}}_[A-Fa-f0-9]{{8}}" + _ENDS),
    ("groq-key", r"gsk_", rf"{_ALNUM}{{48,56}}" + _ENDS),
    ("hugging-face-token", r"hf_", rf"{_ALNUM}{{30,40}}" + _ENDS),
    ("hugging-face-token", r"api_org_", rf"{_ALNUM}{{34}}" + _ENDS),
    ("json-web-token", r"eyJ", rf"{_WORD}{{8,}}\.eyJ{_WORD}{{8,}}\.{_WORD}{{16,}}"),
    ("linear-key", r"lin_api_", rf"{_ALNUM}{{40}}" + _ENDS),
    ("new-relic-key", r"NRAK-", r"[A-Z0-9]{27}" + _ENDS),
    ("npm-token", r"npm_", rf"{_ALNUM}{{36}}" + _ENDS),
    ("openai-key", r"sk-", rf"{_WORD}{{10,}}T3BlbkFJ{_WORD}{{10,}}"),
    ("openai-key", r"sk-", rf"(?:proj|svcacct|admin|service)-{_WORD}{{32,}}"),
    ("openai-key", r"sk-", rf"(?=[A-Za-z]*[0-9]){_ALNUM}{{32,}}" + _ENDS),
    ("openrouter-key", r"sk-or-v1-", r"[a-f0-9]{64}" + _ENDS),
    ("perplexity-key", r"pplx-", rf"{_ALNUM}{{40,}}" + _ENDS),
    ("planetscale-token", r"pscale_(?:tkn|pw_)_", rf"{_WORD}{{32,}}"),
    ("postman-key", r"PMAK-", r"[a-f0-9]{24}-[a-f0-9]{34}" + _ENDS),
    ("private-key", r"PRIVATE KEY-", r"----"),
    ("private-key", r"PRIVATE KEY BLOCK-", r"----"),
    ("pulumi-token", r"pul-", r"[a-f0-9]{40}" + _ENDS),
    ("pypi-token", r"pypi-", rf"AgE{_WORD}{{50,}}"),
    ("replicate-token", r"r8_", rf"{_ALNUM}{{37}}" + _ENDS),
    ("sendgrid-key", r"SG\.", rf"{_WORD}{{22}}\.{_WORD}{{43}}" + _WORD_ENDS),
    ("sentry-token", r"sntry[su]_", r"[A-Za-z0-9+=_\-]{60,}"),
    ("shopify-token", r"shp(?:at|ca|pa|ss)_", r"[A-Fa-f0-9]{32}" + _ENDS),
    ("slack-token", r"xox[abeoprs]-", rf"(?:[0-9]-)?{_ALNUM}{{8,}}-?[A-Za-z0-9\-]{{8,}}"),
    ("slack-token", r"xapp-", r"[0-9]-[A-Z0-9]{8,}-[0-9]{8,}-[a-f0-9]{32,}"),
    ("slack-webhook", r"hooks\.slack\.", r"com/services/T[A-Z0-9]+/B[A-Z0-9]+/\w{16,}"),
    ("stripe-key", r"rk_(?:live|test|prod)_", rf"{_ALNUM}{{16,}}" + _ENDS),
    ("stripe-key", r"sk_(?:live|test|prod)_", rf"{_ALNUM}{{16,}}" + _ENDS),
    ("stripe-webhook-secret", r"whsec_", r"[A-Za-z0-9+]{32,}={0,2}"),
    ("supabase-token", r"sbp_", r"[a-f0-9]{40}" + _ENDS),
    ("telegram-token", r"[0-9]{8}:AA", rf"{_WORD}{{33}}" + _WORD_ENDS),
    ("telegram-token", r"[0-9]{9}:AA", rf"{_WORD}{{33}}" + _WORD_ENDS),
    ("telegram-token", r"[0-9]{10}:AA", rf"{_WORD}{{33}}" + _WORD_ENDS),
    ("terraform-token", rf"{_ALNUM}{{14}}\.atlasv1\.", r"[A-Za-z0-9_\-=]{60,}"),
    ("vault-token", r"hv[sbr]\.", rf"{_WORD}{{24,}}"),
    ("xai-key", r"xai-", rf"{_ALNUM}{{60,}}" + _ENDS),
)

# A key block is redacted to its end, or as far as it goes on.
_KEY_BLOCK = (
    r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[\s\S]{0,16000}?-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"|(?:\s|\\[nrt]|[A-Za-z0-9+/=]){0,16000})"
)


@functools.cache
def text_formats() -> tuple[tuple[str, str, re.Pattern[str]], ...]:
    """Give the rule of each format, a text that all of its tokens have, and its pattern."""
    found = [("private-key", "PRIVATE KEY", re.compile(_KEY_BLOCK))]
    for rule, begins, goes_on in FORMATS:
        if rule != "private-key":
            found.append((rule, needed(begins), re.compile(_bounded(begins) + goes_on)))
    return tuple(found)


def _bounded(begins: str) -> str:
    """Give a beginning that does not go on a word; what is plain in it comes first, for speed."""
    plain = re.match(r"(?:[\w \-]|\\\.)*(?![{?*+])", begins)
    first = plain[0] if plain else ""
    return f"{first}(?<![A-Za-z0-9]{first}){begins[len(first) :]}"


def needed(begins: str) -> str:
    """Give the longest plain text in a pattern of fixed width."""
    plain = re.split(r"\[[^\]]*\](?:\{[\d,]+\})?|\(\?:[^)]*\)", begins)
    return max((part.replace("\\", "") for part in plain), key=len)
