"""A program that plants a secret in every place there is, and what looks for them in folders.

`@name@` in a program stands for a secret of its own, which is drawn anew for each run.
"""

import base64
import json
import os
import re
import subprocess
import sys
from urllib.parse import quote

from tokens import ALNUM, UPPER, draw, jwt, pem


def _words(text):
    return text.split()


# What only its place gives away; the others are known by their formats.
PLAIN = _words(
    """
    below_credentials in_key_value in_login in_query in_default in_body in_wrapped_literal
    in_global in_environment in_param_of_environment in_message in_secret in_secret_in_url
    in_tag in_dataclass in_namespace in_step_default in_worker in_later_tag in_ci_url
    in_data_name in_cell in_cell_variable in_returned_text in_estimator in_error in_registry_url
    in_actor_of_environment in_kept_tuple in_store_option in_store_call in_store_param
    """
)


def secrets():
    """Give name -> secret, no two alike, none of them in any file of this repository."""
    seed = os.urandom(8).hex()
    found = {name: f"pl4nted-{draw(ALNUM, 18, seed=seed + name)}" for name in PLAIN}
    found |= {
        "in_text": "ghp_" + draw(ALNUM, 36, seed=seed),
        "in_bytes": "npm_" + draw(ALNUM, 36, seed=seed),
        "in_key": "hf_" + draw(ALNUM, 34, seed=seed),
        "in_comment": "AKIA" + draw(UPPER, 16, seed=seed),
        "in_description": "glpat-" + draw(ALNUM, 20, seed=seed),
        "behind_the_cut": "sk_live_" + draw(ALNUM, 24, seed=seed),
        "in_note": "xoxb-123456789012-" + draw(ALNUM, 24, seed=seed),
        "in_reason": "pypi-AgEIcHlwaS5vcmc" + draw(ALNUM, 90, seed=seed),
        "in_restore": "sk-proj-" + draw(ALNUM, 60, seed=seed),
        "in_delete": "r8_" + draw(ALNUM, 37, seed=seed),
        "in_actor": "gsk_" + draw(ALNUM, 52, seed=seed),
        "in_artifact": jwt(seed),
        "in_worker_artifact": "AIza" + draw(ALNUM, 35, seed=seed),
        "in_object": "github_pat_" + draw(ALNUM, 22, seed=seed) + "_" + draw(ALNUM, 59, seed=seed),
        "in_model": "sbp_" + draw("abcdef0123456789", 40, seed=seed),
        "in_closure": "shpat_" + draw("abcdef0123456789", 32, seed=seed),
        "in_step_source": "lin_api_" + draw(ALNUM, 40, seed=seed),
        "in_key_file": pem(),
        "in_global_key": "aB3" + draw(ALNUM, 37, seed=seed),
        "in_telegram_file": "1234567890:AA" + draw(ALNUM, 33, seed=seed),
        "in_dotted_object": "hvs." + draw(ALNUM, 90, seed=seed),
    }
    assert len(set(found.values())) == len(found)
    return found


def plant(program, planted):
    """Give a program with the secrets in their places."""
    text = re.sub(r"@(\w+)@", lambda place: planted[place[1]], program)
    assert not re.search(r"@\w+@", text)
    return text


def used(*programs):
    """Give the names of the secrets that programs plant."""
    return {name for program in programs for name in re.findall(r"@(\w+)@", program)}


def run(program, planted, *, folder, code=0, **environ):
    """Run a program in a process of its own whose temporary files lie in `folder/tmp`."""
    (folder / "tmp").mkdir(exist_ok=True)
    script = folder / "code" / "program.py"
    script.parent.mkdir(exist_ok=True)
    script.write_text(plant(program, planted), encoding="utf-8")
    values = {name: plant(value, planted) for name, value in environ.items()}
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder / "tmp"), **values},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    (folder / "printed.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    return done.stdout


def forms(secret):
    """Give the bytes by which a secret could be found, however it was stored."""
    texts = {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret, safe="")}
    found = {text.encode() for text in texts}
    for shift in range(3):
        # The ends depend on what stands beside it.
        coded = base64.b64encode(b"x" * shift + secret.encode())
        found.add(coded[(0, 2, 3)[shift] : len(coded) // 4 * 4 - 4])
    return found


def leaks(folder, planted):
    """Give (name of the secret, file) wherever a secret stands in a file or its name."""
    wanted = [(name, form) for name, secret in planted.items() for form in forms(secret)]
    found = set()
    for place, _, files in os.walk(folder):
        if os.path.relpath(place, folder).split(os.sep)[0] == "code":
            continue
        for file in files:
            path = os.path.join(place, file)
            with open(path, "rb") as opened:
                data = path.encode() + b"\0" + opened.read()
            found.update((name, os.path.relpath(path, folder)) for name, f in wanted if f in data)
    return sorted(found)
