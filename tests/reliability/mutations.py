"""Take each guard of the storage away in turn, and look which test fails.

`python mutations.py FOLDER [PART]` copies the package and its tests, changes one place of the
copy, and runs the tests that should notice. A mutation that no test notices is a problem, and so
is one whose place is not found any more. PART, `local`, `bucket` or `sftp`, runs a part of them;
`sftp` needs OpenSSH. The last line printed is JSON: mutation -> the first test that failed.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import attrs

ROOT = Path(__file__).parent.parent.parent
LOCAL = "modelversion/storage/_local.py"
MEMORY = "modelversion/storage/_memory.py"
SPOOL = "modelversion/storage/spool.py"
OBJECT = "modelversion/storage/_object.py"
SFTP = "modelversion/storage/_sftp.py"
SFTP_FILES = "modelversion/storage/_sftp_files.py"
TRACE = ("tests/test_posix_trace.py",)
FAULTS = ("tests/test_bucket_faults.py",)
CONTENTION = ("tests/test_contention.py",)
OPENSSH = ("tests/servers", "-k", "openssh")


@attrs.frozen
class Mutation:
    """One guard taken away: in a file, `old` becomes `new`; `tests` should notice."""

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTATIONS = {
    "local": [
        Mutation(
            "no fsync of an entry's or a claim's file",
            LOCAL,
            "        if durable:\n            sync(descriptor)\n",
            "",
            TRACE,
        ),
        Mutation(
            "no fsync of the folder that names an entry or a claim",
            LOCAL,
            "            self._settle([folder])\n",
            "            pass\n",
            TRACE,
        ),
        Mutation(
            "no fsync of a version's small files",
            LOCAL,
            "            _sync_files(written)\n",
            "",
            TRACE,
        ),
        Mutation(
            "no fsync of a version's folders",
            LOCAL,
            "            self._settle(folders)\n",
            "",
            TRACE,
        ),
        Mutation(
            "no fsync of the folders above",
            LOCAL,
            "                pending.add(folder)\n",
            "",
            TRACE,
        ),
        Mutation(
            "no fsync of what an earlier writer showed",
            LOCAL,
            '            with mapped("sync", path):\n                self._settle([path])\n',
            "            pass\n",
            TRACE,
        ),
        Mutation(
            "no fsync of a large buffer",
            SPOOL,
            "        written.put(0)\n    sync(descriptor)\n",
            "        written.put(0)\n",
            TRACE,
        ),
        Mutation(
            "no fsync of a large file that was spooled",
            SPOOL,
            "                    sync(self._descriptor)\n",
            "                    pass\n",
            TRACE,
        ),
        Mutation(
            "an fsync that fails is passed over",
            LOCAL,
            "    except OSError as e:\n        raise OutcomeUnknownError(",
            "    except OSError as e:\n        return\n        raise OutcomeUnknownError(",
            ("tests/test_places.py", "-k", "fsync"),
        ),
        Mutation(
            "no create-once: a link that replaces",
            LOCAL,
            "            os.link(temporary, path)\n    except FileExistsError",
            "            os.replace(temporary, path)\n    except FileExistsError",
            (*CONTENTION, "-k", "creates_a_key or 1_to_200"),
        ),
        Mutation(
            "no create-once in memory",
            MEMORY,
            "            if self._fs.exists(path):\n                raise KeyTaken(key)\n",
            "",
            (*CONTENTION, "-k", "threads"),
        ),
        Mutation(
            "no lock in memory",
            MEMORY,
            "        with _LOCK:\n            if self._fs.exists(path):\n"
            "                raise KeyTaken(key)\n            self._fs.pipe_file(path, data)\n",
            "        if self._fs.exists(path):\n            raise KeyTaken(key)\n"
            "        __import__('time').sleep(0.001)\n        self._fs.pipe_file(path, data)\n",
            (*CONTENTION, "-k", "threads"),
        ),
        Mutation(
            "no look at the bytes of a file that is shared",
            LOCAL,
            "            if (status.st_size, digest) != (blob.size, blob.sha256):\n"
            "                return False\n",
            "",
            ("tests/test_saving.py", "tests/test_isolation.py", "tests/test_tamper.py"),
        ),
    ],
    "bucket": [
        Mutation(
            "no create-once: a PUT without its condition",
            OBJECT,
            'self._data, mode="create", **self._family.create',
            "self._data, **self._family.create",
            FAULTS,
        ),
        Mutation(
            "no read-back",
            OBJECT,
            "            if refusal is None or await self._is_ours(fs, refusal):\n",
            "            if refusal is None:\n",
            FAULTS,
        ),
        Mutation(
            "no look whose bytes were read back",
            OBJECT,
            "        if found is not None and found != self._data:\n"
            "            raise KeyTaken(self._path) from refusal\n",
            "",
            FAULTS,
        ),
        Mutation(
            "no re-put: absent is taken for created",
            OBJECT,
            "        return found is not None\n",
            "        return True\n",
            FAULTS,
        ),
        Mutation(
            "no re-put: the first lost request is the end",
            OBJECT,
            "            if isinstance(refusal, FileExistsError) or time.monotonic()",
            "            if True or isinstance(refusal, FileExistsError) or time.monotonic()",
            FAULTS,
        ),
        Mutation(
            "an unknown outcome is reported as failed",
            OBJECT,
            "            if not self._open and _is_final(e):\n                raise\n",
            "            raise\n",
            FAULTS,
        ),
        Mutation(
            "no proof at the first write",
            OBJECT,
            "            prove(self)\n",
            "            pass\n",
            FAULTS,
        ),
    ],
    "sftp": [
        Mutation(
            "no create-once: a rename that replaces",
            SFTP,
            "                channel.rename(upload.temporary, upload.path)\n",
            "                channel.posix_rename(upload.temporary, upload.path)\n",
            OPENSSH,
        ),
        Mutation(
            "no read-back",
            SFTP,
            "                if refusal is None or self._is_ours(key, blob, refusal):\n",
            "                if refusal is None:\n",
            OPENSSH,
        ),
        Mutation(
            "no second attempt",
            SFTP,
            "                if late or not (open_before or _may_resume(upload, refusal)):\n",
            "                if True:\n",
            OPENSSH,
        ),
        Mutation(
            "no fsync",
            SFTP_FILES,
            "            _sync(channel, file)\n",
            "",
            OPENSSH,
        ),
        Mutation(
            "no look at the size",
            SFTP_FILES,
            "            if size != self.blob.size:\n",
            "            if False:\n",
            OPENSSH,
        ),
        Mutation(
            "a file is sent from its beginning again",
            SFTP_FILES,
            "            self.sent = min(there or 0, self.blob.size)\n",
            "            self.sent = 0\n",
            OPENSSH,
        ),
    ],
}


def copied(folder):
    """Copy the package and the tests, and give the folder."""
    leave = shutil.ignore_patterns("node_modules", "__pycache__", "build")
    for name in ("modelversion", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=leave)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def noticed(folder, tests):
    """Give the first test that fails in a copy, None if all pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-rfE", *tests]
    done = subprocess.run(
        command, check=False, cwd=folder, capture_output=True, text=True, timeout=900
    )
    if done.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) \S*?::(\S+)", done.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(done.stdout[-3000:] + done.stderr[-3000:])
    return found[1]


def mutated(folder, mutation):
    """Take a guard away in a copy for the time that its tests take, and give what noticed."""
    path = folder / mutation.file
    text = path.read_text("utf-8")
    if text.count(mutation.old) != 1:
        return f"PROBLEM: found {text.count(mutation.old)} times in {mutation.file}"
    path.write_text(text.replace(mutation.old, mutation.new), "utf-8")
    try:
        return noticed(folder, mutation.tests) or "PROBLEM: no test noticed"
    finally:
        path.write_text(text, "utf-8")


def main(folder, *parts):
    """Run the mutations of some parts, or all; first the tests have to pass without any."""
    place = copied(Path(folder))
    report = {}
    for part in parts or MUTATIONS:
        for tests in dict.fromkeys(mutation.tests for mutation in MUTATIONS[part]):
            failed = noticed(place, tests)
            if failed:
                raise SystemExit(f"{failed} fails without a mutation")
        for mutation in MUTATIONS[part]:
            found = mutated(place, mutation)
            report[f"{part}: {mutation.what}"] = found
            print(f"| {part} | {mutation.what} | `{found}` |", flush=True)
    shutil.rmtree(place)
    print(json.dumps(report))
    if any(found.startswith("PROBLEM") for found in report.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
