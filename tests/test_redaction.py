"""The rules by which something is secret: what they find, and what they must leave alone."""

import base64
import hashlib
import json
import random
import uuid
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokens import EVERY, HEX, TOKENS, draw, pem

import modelversion as mv
from modelversion import redaction, secret
from modelversion._json import encode
from modelversion.redaction import (
    Redaction,
    Redactor,
    Watch,
    _tokens,
    _values,
    check_lifted,
    is_secret_name,
    known_values,
    redact,
    redact_text,
    redact_url,
)
from modelversion.redaction._formats import text_formats

GONE = "(redacted)"


def words(text):
    return text.split()


# ---- names ---------------------------------------------------------------------------------------

SECRET_NAMES = words(
    """
    password db_password dbPassword PASSWORD passwords password1 PGPASSWORD connectionPassword
    passwd passphrase ssh-passphrase db_pass smtp_pass pwd db_pwd user.password opt/password
    secret client_secret clientSecret secrets secret_key SECRET_KEY AWS_SECRET_ACCESS_KEY
    api_key apiKey APIKey apikey APIKEY api-key api.key api_keys X-API-Key openai_api_key
    OPENAI_API_KEY access_key aws_access_key_id private_key signing_key encryption_key
    account_key master_key fernet_key token hf_token HF_TOKEN access_token accessToken authToken
    auth_token refresh_token refresh_tokens api_tokens slackBotToken bearer_token token2
    token_kind token.prod GITHUB_TOKEN trigger_token credentials google_credentials credential
    Authorization basic_auth session_cookie
    """
)

OPEN_NAMES = words(
    """
    tokenizer tokenizers tokenize tokenized detokenizer token_count token_counts n_tokens
    num_tokens max_tokens max_new_tokens min_tokens tokens stop_tokens special_tokens
    tokens_per_batch pad_token eos_token bos_token unk_token mask_token sep_token cls_token
    pad_token_id token_pattern token_type token_index token_ids additional_special_tokens
    token_url primary_key foreign_key sort_key group_key public_key partition_key key keys
    keyboard monkey keyword key_size keypoints turkey secretary secretion secret_name
    passthrough pass n_pass passes bypass compass passenger passport password_file
    credentials_path api_key_file api_key_env password_length author authors authority auth
    auth_url author_key lr C seed n_estimators criterion max_depth opt/lr val/auc
    """
)


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_text_under_a_secret_name_is_redacted(name):
    """A whole word of the name says so, however the words are joined, in one or many."""
    assert redact({name: "x1"}, "params")[0] == {name: GONE}


@pytest.mark.parametrize("name", OPEN_NAMES)
def test_a_text_under_another_name_stays(name):
    """Longer words, other keys, the tokens of texts, and names about secrets hold none."""
    assert redact({name: "x1"}, "params") == ({name: "x1"}, ())


DRAWN = "x9Kq2LmZ7RtB4WvYc8Hn3PdS6FgJ1AeUo5Tb"

KEYS_THAT_ARE_SECRET = [
    {"key": DRAWN},
    {"train:key": DRAWN},
    {"KEY": f"{DRAWN}=="},
    {"storage_options": {"key": "minio-user"}},
    {"train:STORAGE_OPTIONS": {"key": "minio-user", "anon": False}},
    {"opts": {"key": "minio-user", "secret": None}},
    {"opts": {"key": "minio-user", "client_kwargs": {"verify": True}}},
]


@pytest.mark.parametrize("value", KEYS_THAT_ARE_SECRET)
def test_a_bare_key_is_secret_by_its_place_or_its_look(value):
    """In the options of a store, beside a secret, or drawn at random."""
    found, redactions = redact(value, "params")

    assert [r.rule for r in redactions] == ["name"]
    assert "minio-user" not in str(found) and DRAWN not in str(found)


KEYS_THAT_STAY = [
    {"key": "age"},
    {"key": 3, "metric": "auc"},
    {"key": "CustomerChurn2026Features"},
    {"key": "MyVeryLongModelNameV2ForEurope2026Quarter4"},
    {"key": "01ARZ3NDEKTSV4RRFFQ69G5FAV"},
    {"key": "123e4567-e89b-12d3-a456-426614174000"},
    {"key": "d670460b4b4aece5915caf5c68d12f560a9fe3e4"},
    {"key": "12345678901234567890123456789012345678901"},
    {"key": "models/2026/11/25/churn/Model4/weights7.pkl"},
    {"key": "age", "primary_key": "customer", "max_tokens": 3, "tokenizer": "bpe"},
    {"primary_key": DRAWN},
    {"monkey": DRAWN},
    {"sort": {"key": "age", "order": "down"}},
]


@pytest.mark.parametrize("value", KEYS_THAT_STAY)
def test_a_bare_key_of_something_else_stays(value):
    """Names of columns, metrics and entries, numbers, digests, UUIDs and paths."""
    assert redact(value, "params") == (value, ())


@pytest.mark.parametrize(
    "line",
    [
        f'key = "{DRAWN}"',
        'pd.read_csv(url, storage_options={"key": "minio-user", "anon": False})',
        'storage_options = dict(anon=False, key="minio-user")',
        'STORAGE_OPTIONS: dict[str, str] = {\n    "key": "minio-user",\n}',
        'fs = s3fs.S3FileSystem(anon=False, key="minio-user")',
        'fs = fsspec.filesystem("s3", key="minio-user")',
        'opts = {"key": "minio-user", "endpoint_url": url}',
        "config['storage_options']['key'] = 'minio-user'",
        'S3_OPTIONS = {"client_kwargs": {"region": "eu"}, "key": "minio-user"}',
    ],
)
def test_a_bare_key_in_code_is_secret_by_its_place_or_its_look(line):
    """Where a store is opened, and where the text was drawn at random."""
    found, redactions = redact_text(line, "source", code=True)

    assert redactions == (Redaction("source", "name"),)
    assert found == line.replace("minio-user", GONE).replace(DRAWN, GONE)


@pytest.mark.parametrize(
    "line",
    [
        'df.sort_values(key="age")',
        'join(left, right, key="customer_id")',
        'rows = [{"key": "auc", "value": 0.9}]',
        'f(key="CustomerChurn2026Features")',
        'storage_options={"anon": True}; sort(rows, key="age")',
        'fs = filesystem("s3"); rows.sort(key="age")',
        f'primary_key = "{DRAWN}"',
    ],
)
def test_a_bare_key_of_something_else_stays_in_code(line):
    """Sorting, joining and naming is no login."""
    assert redact_text(line, code=True) == (line, ())


def test_without_the_look_at_keys_they_are_found_no_more(monkeypatch):
    """The rule is what redacts them."""
    monkeypatch.setattr(_values, "is_key", lambda name: False)

    for value in KEYS_THAT_ARE_SECRET[:5]:
        assert redact(value, "params") == (value, ())


@pytest.mark.parametrize(
    "value", [1, 0, -1.5, True, False, None, {"$float": "nan"}, {"$int": "9" * 30}, "", "  "]
)
def test_what_is_no_text_stays_under_a_secret_name(value):
    """Numbers, bools, None and empty texts are no secrets, whatever they are called."""
    assert redact({"token": value}, "params") == ({"token": value}, ())


@pytest.mark.parametrize(
    "value", ["<pad>", "<|endoftext|>", "[MASK]", "${API_KEY}", "$TOKEN", "%(token)s", "***"]
)
def test_what_stands_for_a_value_stays(value):
    """Special tokens of texts and references to a value kept elsewhere are no secrets."""
    assert redact({"token": value}, "params") == ({"token": value}, ())


def test_everything_below_a_secret_name_is_redacted():
    """Lists, tuples and objects under a secret name hold secrets, at any depth; numbers stay."""
    given = {"credentials": {"user": "ana", "rest": ["x1", {"$tuple": ["x2", 3]}], "port": 5432}}

    found, redactions = redact(given, "params")

    assert found == {
        "credentials": {"user": GONE, "rest": [GONE, {"$tuple": [GONE, 3]}], "port": 5432}
    }
    assert [r.path for r in redactions] == [
        "params.credentials.user",
        "params.credentials.rest[0]",
        "params.credentials.rest[1][0]",
    ]


# ---- formats -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "token"), EVERY)
@pytest.mark.parametrize(
    "around", ["{}", "use {} here", '"{}"', "a={}\n", "https://h/{}/x", "({})"]
)
def test_a_token_of_a_known_format_is_redacted(rule, token, around):
    """A token is found by itself and within a text, and what is around it stays."""
    text = around.format(token)

    found, redactions = redact_text(text)

    assert found == around.format(GONE)
    assert Redaction("text", rule) in redactions


def test_every_format_has_a_token_here():
    """No format is without a test."""
    assert {name for name, _, _ in text_formats()} == set(TOKENS)


NO_TOKENS = [
    str(uuid.UUID(int=2**127 + 12345)),
    uuid.UUID(int=2**100 + 99).hex,
    hashlib.sha256(b"x").hexdigest(),
    hashlib.sha1(b"x").hexdigest(),
    hashlib.md5(b"x").hexdigest(),
    "sha256:" + hashlib.sha256(b"y").hexdigest(),
    hashlib.sha512(b"x").hexdigest(),
    base64.b64encode(bytes(range(256)) * 4).decode(),
    base64.b64encode(b"\0" * 300).decode(),
    base64.b64encode(hashlib.sha256(b"x").digest()).decode(),
    "commit 8d1ee2100c0ffee8d1ee2100c0ffee8d1ee21000",
    "3.14159265358979323846264338327950288",
    "9" * 100,
    "2026-11-24T21:20:17.123456Z",
    "sk-learn",
    "sk-toggleable__label-arrow:before",
    "sk-estimator-doc-link sk-container-id-12 sk-text-repr-fallback",
    "sk-" + "a" * 50,
    "hf_hub_download",
    "hf_internal_testing_tiny_random_bert_model",
    "github_pat_",
    "ghp_short",
    "npm_config_registry",
    "npm_package_dependencies_left_pad_version",
    "pypi-upload-action",
    "xoxb",
    "AKIA",
    "AKIAlowercaseisnoid0",
    "BAKIA" + draw(HEX, 16).upper(),
    "AIzawa",
    "eyJhbGciOiJIUzI1NiJ9",
    "eyJhbGciOiJIUzI1NiJ9.only.three",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ ana@team",
    "glpat-",
    "gl-material-design-lite-components",
    "r8_unorm_srgb_pack",
    "SG.model.v2",
    "pat.match",
    "dp.pt.x",
    "xai-explainable-models",
    "dapifoo",
    "task_live_stream_of_the_model_output",
    "desk_test_results_for_the_whole_suite",
    "AccountKey=",
    "key=value",
    "models/churn/versions/3/version.json",
    "sklearn.linear_model._logistic.LogisticRegression",
    "https://host:8080/path?a=1&b=2#part",
    "s3://team/models",
    "ssh://git@github.com/team/repo.git",
    "git@github.com:team/repo.git",
    "abfs://container@account.dfs.core.windows.net/path",
    "mail ana@team.org and bob@team.org",
    'f"postgres://{user}:{password}@{host}/db"',
    "https://user:%s@host",
    "the password must have 8 characters",
    "password: must be at least 8 characters",
    "Enter the token for the tokenizer",
    "max_tokens=512, token_count=3, n_tokens=7",
    "password=None token=True secret=3",
    "(?u)\\b\\w\\w+\\b",
    "lr=0.1 C=1.0 kernel=rbf",
    "key: value, keys: values",
    "déjà vu, 日本語, Ωmega, \U0001f600",
]


@pytest.mark.parametrize("text", NO_TOKENS)
def test_a_text_without_secrets_stays(text):
    """Digests, ids, numbers, base64, paths, class names and prose are left as they are."""
    assert redact_text(text) == (text, ())
    assert redact_text(text, code=True) == (text, ())
    assert redact({"x": text, text: 1}, "params") == ({"x": text, text: 1}, ())


def test_there_are_cases_enough():
    """Both tables are as long as was asked for."""
    assert len(SECRET_NAMES) + len(EVERY) > 120
    assert len(OPEN_NAMES) + len(NO_TOKENS) > 120


def test_a_key_block_is_redacted_whole():
    """The lines of a private key go, with real and with escaped line feeds, also if it is cut."""
    whole, cut = pem(), pem().rsplit("\n", 2)[0]

    assert redact_text(f"a\n{whole}\nb")[0] == f"a\n{GONE}\nb"
    assert redact_text(whole.replace("\n", "\\n"))[0] == GONE
    assert redact_text(cut)[0] == GONE


# ---- URLs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://ana:hunter2@db:5432/x", f"postgresql://{GONE}@db:5432/x"),
        ("postgresql://ana:hun@ter@db/x", f"postgresql://{GONE}@db/x"),
        ("https://x1@github.com/a/b.git", f"https://{GONE}@github.com/a/b.git"),
        ("s3://key:secret@bucket/models", f"s3://{GONE}@bucket/models"),
        ("simplecache::s3://key:secret@bucket", f"simplecache::s3://{GONE}@bucket"),
        ("https://h/x?a=1&token=abc&b=2", f"https://h/x?a=1&token={GONE}&b=2"),
        ("https://h/x?api_key=abc#f", f"https://h/x?api_key={GONE}#f"),
        ("https://h/x?X-Amz-Signature=ab&n=1", f"https://h/x?X-Amz-Signature={GONE}&n=1"),
        ("https://a.blob.core.windows.net/c?sv=1&sig=ab%3D", None),
        ("redis://:hunter2@cache:6379/0", f"redis://{GONE}@cache:6379/0"),
        ("https://h/cb#access_token=abc", f"https://h/cb#access_token={GONE}"),
        ("git+https://oauth2:x1@gitlab.com/a", f"git+https://{GONE}@gitlab.com/a"),
    ],
)
def test_a_url_loses_its_login_and_its_secret_parts(url, expected):
    """Host, path and other parts stay; within a text it is the same."""
    expected = expected or f"https://a.blob.core.windows.net/c?sv=1&sig={GONE}"

    assert redact_url(url) == (expected, (Redaction("url", "url"),))
    assert redact_text(f"see <{url}>, twice: {url}")[0] == f"see <{expected}>, twice: {expected}"


# ---- assignments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        'password = "{}"',
        "password='{}'",
        'self.api_key: str = "{}"',
        'def f(x, token: str | None = "{}"): ...',
        'f(x, secret="{}")',
        '{{"password": "{}"}}',
        "{{'client_secret' : '{}'}}",
        'os.environ["API_KEY"] = "{}"',
        'os.environ.get("API_KEY", "{}")',
        'getenv("DB_PASSWORD", "{}")',
        'environ.setdefault("HF_TOKEN", "{}")',
        'setattr(config, "password", "{}")',
        'parser.add_argument("--api-key", type=str, default="{}")',
        '@click.option("--db-password", default="{}")',
        'if password == "{}": pass',
        'if (token := "{}"): pass',
        'password = (\n    "{}"\n)',
        'password = """{}"""',
        'password = r"{}"',
        'password = f"{}"',
        'password = b"{}"',
        'API_TOKEN = "{}"  # a comment',
        'mv.Secret("{}")',
        "Secret( '{}' )",
        '+    password = "{}"',
        '-  api_key: "{}"',
        "+API_KEY={}",
        "export DB_PASSWORD={}",
        "password: '{}'",
        "!python train.py --api-key {} --n 3",
        'run("train.py --token={}")',
        'dsn = "host=db password={} dbname=x"',
        'credentials = ["{}"]',
        'api_keys = ({{"main": "{}"}}, 3)',
        '{{"secrets": ["{}", None]}}',
        'f(token=[load("x.json"), "{}"])',
    ],
)
def test_a_text_assigned_to_a_secret_name_is_redacted_in_code(line):
    """Python, patches, YAML and environment files: the value goes, all else stays."""
    found, redactions = redact_text(line.format("hunter-2"), "source", code=True)

    assert found == line.format(GONE).replace("{{", "{").replace("}}", "}")
    assert redactions == (Redaction("source", "name"),)


@pytest.mark.parametrize(
    "line",
    [
        "password = get_password()",
        "f(password=password, token=os.environ['HF_TOKEN'])",
        "token: str | None = None",
        'password = ""',
        'getpass("Password: ") or "x"',
        'os.environ["API_KEY"]',
        'tokenizer = "bert-base"',
        'pad_token = "<pad>"',
        "API_KEY=os.environ",
        "TOKEN = 3",
        'primary_key = "id"',
        'password = f"{prefix}"',
        'credentials = load(["x.json"], {"a": "b"})',
        'parser.add_argument("--token", help="--token TOKEN of the service")',
        'f("x", password=password)',
        'credentials = [load("x.json"), load("y")[0]("z")]',
    ],
)
def test_code_without_a_secret_text_stays(line):
    """Calls, names, numbers and placeholders are no values."""
    assert redact_text(line, code=True) == (line, ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("login failed: password=hunter2 for ana", f"login failed: password={GONE} for ana"),
        ("host=db password=hunter2 dbname=x", f"host=db password={GONE} dbname=x"),
        ("Server=db;User=sa;PWD=hunter2;Port=1", f"Server=db;User=sa;PWD={GONE};Port=1"),
        ("train.py --api-key hunter2 --n 3", f"train.py --api-key {GONE} --n 3"),
        ("train.py --token=hunter2", f"train.py --token={GONE}"),
        ("wrong password 'hunter2'", f"wrong password '{GONE}'"),
        ("wrong api_key: hunter2", f"wrong api_key: {GONE}"),
        ('{"password": "hunter2"}', f'{{"password": "{GONE}"}}'),
    ],
)
def test_a_value_behind_a_secret_name_is_redacted_in_prose(text, expected):
    """Messages, connection strings and command lines."""
    assert redact_text(text)[0] == expected


# ---- what is known -------------------------------------------------------------------------------

KNOWN = known_values({"MY_API_KEY": "pa/ss wörd+1", "HOME": "/home/ana-the-great"})


@pytest.mark.parametrize(
    "form",
    [
        "pa/ss wörd+1",
        "pa%2Fss%20w%C3%B6rd%2B1",
        "pa/ss w\\u00f6rd+1",
        base64.b64encode("pa/ss wörd+1".encode()).decode(),
    ],
)
def test_the_value_of_a_secret_variable_is_redacted(form):
    """As it is, and as URLs, JSON and base64 hold it; the value of another variable stays."""
    found, redactions = redact_text(f"x{form}y /home/ana-the-great", known=KNOWN)

    assert found == f"x{GONE}y /home/ana-the-great"
    assert redactions == (Redaction("text", "environment:MY_API_KEY"),)


@pytest.mark.parametrize(
    "value",
    ["short", "", "production", "12345678", "2026-11-24", "/run/secrets/key.json", "~/k/key.pem"],
)
def test_a_trivial_value_is_not_looked_for(value):
    """Short texts, one plain word, numbers and paths would be found where they are no secret."""
    assert known_values({"APP_SECRET": value}).values == ()


def test_directories_are_not_looked_for():
    """PWD is where a shell is."""
    assert known_values({"PWD": "/home/ana/project", "OLDPWD": "/home/ana/project"}).values == ()


def test_the_longest_value_is_replaced_first():
    """A value that begins like another leaves no rest of the longer one."""
    known = known_values({"A_TOKEN": "begin-123", "B_TOKEN": "begin-123-and-more"})

    assert redact_text("begin-123-and-more begin-123", known=known)[0] == f"{GONE} {GONE}"


def test_known_values_are_not_shown():
    """The repr of what is known has none of it."""
    assert "wörd" not in repr(KNOWN)


# ---- values --------------------------------------------------------------------------------------


def test_what_stands_behind_an_option_in_a_list_is_redacted():
    """A command line is logged word by word; what is no option's value stays."""
    line = ["train.py", "--api-key", "x7Q", "--max-tokens", "512", "-password", "--n", "3"]
    given = {"argv": line, "columns": ["password", "age"], "more": ["--token", 5, "--token"]}

    value, found = redact(given, "params")

    assert value == {**given, "argv": ["train.py", "--api-key", GONE, *line[3:]]}
    assert found == (Redaction("params.argv[2]", "name"),)


def test_keys_and_bytes_are_looked_through():
    """A token may be a key, or stand in bytes; two equal keys stay two."""
    token = TOKENS["github-token"][0]
    given = {token: 1, f"{token} ": 2, "raw": {"$bytes": base64.b64encode(token.encode()).decode()}}

    found, redactions = redact(given, "params")

    assert found == {GONE: 1, f"{GONE} ": 2, "raw": GONE}
    assert redactions == (
        Redaction("a key of params", "github-token"),
        Redaction("params.raw", "github-token"),
    )
    assert len(redact({token: 1, TOKENS["github-token"][1]: 2}, "params")[0]) == 2


def test_bytes_under_a_secret_name_are_redacted():
    """They are as secret as a text; lifted they stay; what is no base64 holds nothing."""
    given = {"password": {"$bytes": "aHVudGVyMg=="}, "odd": {"$bytes": "abc"}}

    found, _ = redact(given, "params")
    assert found == {"password": GONE, "odd": {"$bytes": "abc"}}
    assert redact(given, "params", lifted=["params"]) == (given, ())
    assert redact({"token": 1}, "params", lifted=["params"]) == ({"token": 1}, ())


def test_a_lifted_path_stays_with_all_below_it():
    """What the user says is no secret is none, but for what `mv.Secret` wrapped."""
    token = TOKENS["npm-token"][0]
    given = {"token": "abc", "db": {"password": token, "list": ["x", {"$secret": True}]}}

    lifted = redact(given, "params", lifted=["params.token", "params.db"])

    assert lifted[0] == {"token": "abc", "db": {"password": token, "list": ["x", GONE]}}
    assert lifted[1] == (Redaction("params.db.list[1]", "mv.Secret"),)
    assert redact(given, "params", lifted=["params.tok"])[0]["token"] == GONE


@pytest.mark.parametrize(
    "given", ["params.token", 3, ["token"], [3], [""], ["params.x", "other.y"]]
)
def test_not_secret_takes_paths_only(given):
    """A path that nothing could be at is refused, with what a path looks like."""
    with pytest.raises(mv.errors.InvalidValueError, match="not_secret must list paths"):
        check_lifted(given, False)


def test_a_refused_path_is_not_printed():
    """What is given in the wrong place may be the secret itself."""
    with pytest.raises(mv.errors.InvalidValueError) as e:
        check_lifted([TOKENS["npm-token"][0]], False)

    assert TOKENS["npm-token"][0] not in str(e.value)


def test_a_redactor_sums_up():
    """Rules of all parts are listed by path, sorted, each once."""
    redactor = Redactor(KNOWN, ["params.free"])

    redactor.value({"token": "x", "free": "pa/ss wörd+1"}, "params")
    redactor.text(f"pa/ss wörd+1 {TOKENS['npm-token'][0]}", "description")
    redactor.text("pa/ss wörd+1", "description")
    redactor.value({"password": "telling-1"}, "params")
    assert redactor.text("x = telling-1 and x", "failed") == f"x = {GONE} and x"

    assert redactor.rules() == {
        "description": ["environment:MY_API_KEY", "npm-token"],
        "failed": ["name"],
        "params.password": ["name"],
        "params.token": ["name"],
    }


# ---- bytes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "token"), EVERY)
def test_a_token_in_bytes_is_found(rule, token):
    """Also where it lies across two pieces, in any place."""
    data = b"\x80\x05\x95" + token.encode() + b"\x94\x8c"

    for cut in {0, 3, 4, len(data) // 2, len(data) - 3}:
        watch = Watch(KNOWN)
        assert rule in (watch(data[:cut]), watch(data[cut:]))


@pytest.mark.parametrize(("rule", "token"), EVERY)
@pytest.mark.parametrize("way", ["all at once", "one by one"])
def test_a_token_in_many_bytes_is_found(rule, token, way, monkeypatch):
    """Wherever it stands, with numpy and without, which look for it in other ways."""
    if way == "one by one":
        monkeypatch.setattr(_tokens, "_FEW", 2**60)
    else:
        monkeypatch.delattr(_tokens, "_searched")
    assert np is not None, "which is loaded here"
    words = b"some words, and more: x=1\n" * 40_000

    for place in (0, 1000, _tokens._CHUNK - 8, _tokens._CHUNK, len(words)):
        data = words[:place] + b" " + token.encode() + b" " + words[place:]
        assert set(_tokens.formats_in(data)) == {rule}


@pytest.mark.parametrize("text", NO_TOKENS)
def test_bytes_without_a_token_pass(text):
    """What is no token in a text is none in bytes, many or few."""
    assert Watch(KNOWN)(text.encode()) is None
    assert Watch(KNOWN)(b"\n".join([text.encode()] * (20_000 // len(text) + 1))) is None


def test_many_places_are_searched_one_by_one(monkeypatch):
    """Where nearly everything may be a token, each place is looked at all the same."""
    token = TOKENS["github-token"][0].encode()
    data = b" ".join([b"hf_0123456789abcdefghij"] * 20_000)
    assert _tokens._places(data) is None

    assert list(_tokens.formats_in(data)) == []
    assert list(_tokens.formats_in(data + b" " + token)) == ["github-token"]


WORDS = [b"loss", b"the", b"x", b"user_name", b"learning-rate", b"0.8765432109876543", b"e-05"]
FILLINGS = {
    "words": lambda rng: b" ".join(rng.choices(WORDS, k=300)),
    "csv": lambda rng: b",".join(repr(rng.random()).encode() for _ in range(80)),
    "snake": lambda rng: b"_".join(rng.choices([*WORDS, b"hf", b"sk", b"ghp", b"r8"], k=200)),
    "base64": lambda rng: base64.b64encode(rng.randbytes(900)),
    "url base64": lambda rng: base64.urlsafe_b64encode(rng.randbytes(900)),
    "hex": lambda rng: rng.randbytes(600).hex().encode(),
    "bytes": lambda rng: rng.randbytes(1200),
    "capitals": lambda rng: b"PRIVATE V KEY- AKIA eyJ " * 50,
}


def every_rule(data):
    """Match each format at each byte that its beginnings end with: slow, and plain."""
    found = set()
    for anchor, (pattern, rules, _) in _tokens._anchored().items():
        at = data.find(anchor.encode())
        while at >= 0:
            if match := pattern.match(data, at):
                found.add(rules[match.lastindex - 1])
            at = data.find(anchor.encode(), at + 1)
    return found


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.lists(st.sampled_from([*FILLINGS]), min_size=1, max_size=12))
def test_a_look_at_all_bytes_at_once_finds_what_one_at_each_does(seed, kinds):
    """Whatever surrounds the tokens, and wherever they stand to the borders of what is looked at.

    A token with a letter before it is none, and both looks say so.
    """
    rng = random.Random(seed)
    parts = [FILLINGS[kind](rng) for kind in kinds]
    for _ in range(rng.randrange(4)):
        _, token = rng.choice(EVERY)
        place = rng.randrange(len(parts))
        parts.insert(place, rng.choice([b" ", b"\n", b'"', b"x", b"=", b"\x8c("]) + token.encode())
    data = b"".join(part + rng.choice([b"", b" ", b"\n"]) for part in parts)
    chunk = rng.choice([1024, 4096, len(data) // 2 + 1])

    with mock.patch.multiple(_tokens, _FEW=0, _CHUNK=chunk, _BYTES_A_PLACE=0):
        found, there = set(_tokens.formats_in(data)), every_rule(data)
    assert bool(found) == bool(there)
    # A key block is looked for by itself, and is not told of where another secret is.
    assert found - {"private-key"} == there - {"private-key"}
    with mock.patch.multiple(_tokens, _FEW=2**60):
        assert bool(set(_tokens.formats_in(data))) == bool(there)


@pytest.mark.parametrize(("rule", "token"), EVERY)
def test_a_token_is_found_at_every_place_around_a_border(rule, token):
    """Of a chunk, of eight bytes, and at both ends of all bytes."""
    for shift in range(-len(token) - 3, 4):
        data = (b"x, " * 1400)[: 4095 + shift] + b" " + token.encode()

        with mock.patch.multiple(_tokens, _FEW=0, _CHUNK=4096):
            assert set(_tokens.formats_in(data)) == {rule}
            assert rule in set(_tokens.formats_in(data + b"\n" * 5000))
    with mock.patch.multiple(_tokens, _FEW=0, _CHUNK=4096):
        assert rule in set(_tokens.formats_in(token.encode()))


def test_a_known_value_in_bytes_is_found():
    """Across two pieces, too."""
    watch = Watch(KNOWN)

    assert watch(b"xxpa/ss w") is None
    assert watch("örd+1xx".encode()) == "environment:MY_API_KEY"


# ---- properties ----------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"), max_size=40)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | texts | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
secrets_in_text = st.lists(
    texts | st.sampled_from([token for _, token in EVERY]) | st.sampled_from(["password='x1' "]),
    max_size=5,
).map(" ".join)


@given(st.text(st.sampled_from("abc xyz_-.:/=\"'\n(){}0123ABCé"), max_size=300))
def test_a_text_of_no_secret_is_unchanged(text):
    """Without names, tokens and URLs nothing is found, whatever else stands there."""
    assert redact_text(text) == (text, ()) or "://" in text


@given(secrets_in_text, st.booleans())
def test_redacting_twice_changes_nothing(text, code):
    """What is redacted is found no more."""
    once, _ = redact_text(text, known=KNOWN, code=code)

    assert redact_text(once, known=KNOWN, code=code) == (once, ())


@given(values)
def test_redacting_a_value_twice_changes_nothing(value):
    """The same holds for values at any depth; and what they are made of stays."""
    encoded = encode({"x": value}, "params")
    once, _ = redact(encoded, "params", known=KNOWN)

    assert redact(once, "params", known=KNOWN) == (once, ())
    assert json.dumps(redact({"n": 1}, "params")[0]) == '{"n": 1}'


# ---- mutants: each rule is needed ----------------------------------------------------------------


@pytest.fixture
def forgetful():
    """What was redacted before is not remembered, and what a mutant gives is not either."""
    redaction._text._redacted_again.cache_clear()
    yield redaction._text._redacted_again.cache_clear
    redaction._text._redacted_again.cache_clear()


def unchanged(text, *_, **__):
    return text, []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("replace_values", "pa/ss wörd+1"),
        ("replace_formats", TOKENS["npm-token"][0]),
        ("replace_in_urls", "postgresql://ana:hunter2@db"),
        ("replace_assigned", "password='hunter2'"),
    ],
)
def test_without_a_rule_its_secret_is_found_no_more(rule, text, forgetful, monkeypatch):
    """No rule stands in for another."""
    assert redact_text(text, known=KNOWN)[0] != text

    forgetful()
    monkeypatch.setattr(redaction._text, rule, unchanged)
    assert redact_text(text, known=KNOWN)[0] == text


def test_without_the_rule_of_names_a_value_is_found_no_more(monkeypatch):
    """The name alone makes a plain text secret."""
    monkeypatch.setattr(redaction._values, "is_secret_name", lambda name: False)

    assert redact({"password": "hunter2"}, "params")[0] == {"password": "hunter2"}


# ---- mv.Secret -----------------------------------------------------------------------------------


def test_a_secret_is_shown_nowhere():
    """Every way to print it gives the same words."""
    key = mv.Secret("open sesame 1")

    shown = [repr(key), str(key), f"{key}", f"{key:>20}", f"{key!r}", repr([key]), repr({"k": key})]
    assert not [text for text in shown if "sesame" in text]
    assert not hasattr(key, "__dict__")
    assert key.reveal() == "open sesame 1"


def test_secrets_compare_by_their_text():
    """Equal texts are equal secrets; a text is not a secret."""
    assert mv.Secret("one text") == mv.Secret("one text")
    assert len({mv.Secret("one text"), mv.Secret("one text")}) == 1
    assert mv.Secret("one text") != mv.Secret("other")
    assert mv.Secret("one text") != "one text"


@pytest.mark.parametrize("value", ["", 3, None, b"bytes"])
def test_a_secret_is_a_text(value):
    """Anything else is refused, and not printed."""
    with pytest.raises(mv.errors.InvalidValueError, match="a Secret is a text"):
        mv.Secret(value)


def test_only_so_many_secrets_are_remembered(monkeypatch):
    """A server that wraps without end does not grow without end."""
    monkeypatch.setattr(secret, "_REMEMBERED", 3)
    for i in range(10):
        mv.Secret(f"number {i} of many")

    assert len(secret.wrapped_texts()) == 3
    assert secret.wrapped_texts()[-1] == "number 9 of many"


def test_names_of_any_length_are_judged():
    """A name without words, or with very many, is judged in no time."""
    assert not is_secret_name("") and not is_secret_name("123_-.")
    assert not is_secret_name("aB" * 10_000)
