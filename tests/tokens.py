"""Tokens that look like those of their issuers, made when they are needed.

None of them was ever issued, and none stands in a file: whoever scans this repository for
secrets finds none.
"""

import random
import string

ALNUM = string.ascii_letters + string.digits
WORD = ALNUM + "_-"
HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + string.digits


def draw(alphabet, length, *, seed=0):
    """Draw a text in which a digit, and letters if the alphabet has any, are sure to be."""
    rng = random.Random(f"{alphabet}{length}{seed}")
    text = "".join(rng.choice(alphabet) for _ in range(length - 3))
    return "a7" + text + "Z" if alphabet in (ALNUM, WORD) else text + rng.choice(alphabet) * 3


def jwt(seed=0):
    header, payload = "eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiIxMjM0NTY3ODkwIn0"
    return f"{header}.{payload}.{draw(WORD, 43, seed=seed)}"


def pem(kind="RSA "):
    body = "\n".join(draw(ALNUM + "+/", 64, seed=i) for i in range(4))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"


# Name of the format -> tokens of it.
TOKENS = {
    "age-secret-key": ["AGE-SECRET-KEY-1" + draw(UPPER, 58)],
    "airtable-token": ["pat" + draw(ALNUM, 14) + "." + draw(HEX, 64)],
    "anthropic-key": ["sk-ant-api03-" + draw(WORD, 93) + "AA", "sk-ant-oat01-" + draw(WORD, 86)],
    "atlassian-token": ["ATATT3" + draw(WORD, 186)],
    "aws-access-key": [kind + draw(UPPER, 16) for kind in ("AKIA", "ASIA", "ABIA")],
    "azure-client-secret": [draw(ALNUM, 3) + "8Q~" + draw(ALNUM, 34)],
    "azure-connection-string": [
        "AccountKey=" + draw(ALNUM + "+/", 86) + "==",
        "SharedAccessKey=" + draw(ALNUM + "+/", 43) + "=",
    ],
    "databricks-token": ["dapi" + draw(HEX, 32), "dapi" + draw(HEX, 32) + "-3"],
    "digitalocean-token": ["dop_v1_" + draw(HEX, 64), "doo_v1_" + draw(HEX, 64)],
    "docker-token": ["dckr_pat_" + draw(WORD, 27)],
    "doppler-token": ["dp.pt." + draw(ALNUM, 43)],
    "figma-token": ["figd_" + draw(WORD, 40)],
    "github-token": [
        *(f"gh{kind}_" + draw(ALNUM, 36) for kind in "pousr"),
        "github_pat_" + draw(ALNUM, 22) + "_" + draw(ALNUM, 59),
    ],
    "gitlab-token": [f"gl{kind}-" + draw(WORD, 20) for kind in ("pat", "dt", "rt", "ptt")],
    "google-api-key": ["AIza" + draw(WORD, 35)],
    "google-oauth-secret": ["GOCSPX-" + draw(WORD, 28)],
    "google-oauth-token": ["ya29." + draw(WORD, 60)],
    "grafana-token": ["glsa_" + draw(ALNUM, 32) + "_" + draw(HEX, 8)],
    "groq-key": ["gsk_" + draw(ALNUM, 52)],
    "hugging-face-token": ["hf_" + draw(ALNUM, 34), "api_org_" + draw(ALNUM, 34)],
    "json-web-token": [jwt()],
    "linear-key": ["lin_api_" + draw(ALNUM, 40)],
    "new-relic-key": ["NRAK-" + draw(UPPER, 27)],
    "npm-token": ["npm_" + draw(ALNUM, 36)],
    "openai-key": [
        "sk-" + draw(ALNUM, 20) + "T3BlbkFJ" + draw(ALNUM, 20),
        "sk-proj-" + draw(WORD, 120),
        "sk-svcacct-" + draw(WORD, 60),
        "sk-" + draw(ALNUM, 48),
    ],
    "openrouter-key": ["sk-or-v1-" + draw(HEX, 64)],
    "perplexity-key": ["pplx-" + draw(ALNUM, 48)],
    "planetscale-token": ["pscale_tkn_" + draw(WORD, 43)],
    "postman-key": ["PMAK-" + draw(HEX, 24) + "-" + draw(HEX, 34)],
    "private-key": [pem(), pem(""), pem("EC "), pem("OPENSSH "), pem("ENCRYPTED ")],
    "pulumi-token": ["pul-" + draw(HEX, 40)],
    "pypi-token": ["pypi-AgEIcHlwaS5vcmc" + draw(WORD, 150)],
    "replicate-token": ["r8_" + draw(ALNUM, 37)],
    "sendgrid-key": ["SG." + draw(WORD, 22) + "." + draw(WORD, 43)],
    "sentry-token": ["sntryu_" + draw(HEX, 64)],
    "shopify-token": [f"shp{kind}_" + draw(HEX, 32) for kind in ("at", "ca", "pa", "ss")],
    "slack-token": [
        "xoxb-123456789012-1234567890123-" + draw(ALNUM, 24),
        "xoxp-123456789012-123456789012-" + draw(HEX, 32),
        "xapp-1-A0123456789-1234567890123-" + draw(HEX, 64),
    ],
    "slack-webhook": ["hooks.slack.com/services/T01234567/B01234567/" + draw(ALNUM, 24)],
    "stripe-key": ["sk_live_" + draw(ALNUM, 24), "rk_test_" + draw(ALNUM, 99)],
    "stripe-webhook-secret": ["whsec_" + draw(ALNUM, 32)],
    "supabase-token": ["sbp_" + draw(HEX, 40)],
    "telegram-token": ["123456789:AA" + draw(WORD, 33)],
    "terraform-token": [draw(ALNUM, 14) + ".atlasv1." + draw(WORD, 67)],
    "vault-token": ["hvs." + draw(WORD, 90)],
    "xai-key": ["xai-" + draw(ALNUM, 80)],
}
EVERY = [(rule, token) for rule, tokens in TOKENS.items() for token in tokens]
