"""Stored bytes that were changed: refused before anything is unpickled, or found by `verify`."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from processes import together

import modelversion as mv
from modelversion import _json
from modelversion.errors import (
    DigestMismatchError,
    FileMissingError,
    IntegrityError,
    JournalError,
    ModelVersionError,
    OriginMismatchError,
    RecordError,
    SizeMismatchError,
    StorageError,
)

MODEL = "models/m"


class Marking:
    """Leaves a folder behind when it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.makedirs, (self.mark, 0o777, True)


@pytest.fixture
def root(tmp_path):
    """The registry's folder."""
    return tmp_path / "registry"


@pytest.fixture
def mark(tmp_path):
    """What appears when an object of `saved` is unpickled."""
    return tmp_path / "mark"


@pytest.fixture
def saved(registry, mark):
    """Two versions of one shape: a stream, packed buffers, a large buffer, artifacts, source."""
    for i in (1, 2):
        value = [Marking(mark), np.full(520, i), np.full(200_000, i), f"text {i}"]
        registry.save("m", value, artifacts={"a/b.txt": f"artifact {i}"}, params={"i": i})
    return registry


def _folder(root, number=1):
    return root / MODEL / "versions" / str(number)


def _rewrite(path, data):
    """Put other bytes in a file's place, as another file."""
    path.unlink()
    path.write_bytes(data)


def _flips(data):
    """Give the data with one bit changed, once for each byte."""
    for i, byte in enumerate(data):
        yield data[:i] + bytes([byte ^ (1 << i % 8)]) + data[i + 1 :]


def _refused(registry, mark, error, reference="m:1", mmap=False):
    with pytest.raises(error) as caught:
        registry.load(reference, mmap=mmap)
    assert type(caught.value) is error
    assert not mark.exists()
    return str(caught.value)


def _keys(report):
    assert not report
    return {problem.key for problem in report.problems}


# ---- the files of a version


def test_the_object_loads_as_it_was_saved(saved, mark):
    """Without any change, loading unpickles and `verify` finds nothing."""
    assert saved.verify()
    assert saved.load("m:1")[3] == "text 1"
    assert mark.exists()


@pytest.mark.parametrize("path", ["object/object.pkl", "object/buffers.bin", "version.json"])
def test_every_flipped_byte_is_refused(saved, root, mark, path):
    """One changed bit in any byte of a file that a load reads is refused before unpickling."""
    file = _folder(root) / path
    data = file.read_bytes()

    for i, changed in enumerate(_flips(data)):
        _rewrite(file, changed)
        message = _refused(saved, mark, DigestMismatchError, mmap=bool(i % 2))
        assert path in message and "m:1" in message

    _rewrite(file, data)
    assert saved.verify()


def test_a_flipped_byte_of_a_large_buffer_is_refused(saved, root, mark):
    """The same holds in a file of its own, loaded or mapped, at both ends and in between."""
    file = _folder(root) / "object" / "buffer-0.bin"
    data = bytearray(file.read_bytes())

    for at in (0, len(data) // 2, len(data) - 1):
        for mmap in (False, True):
            changed = bytearray(data)
            changed[at] ^= 1
            _rewrite(file, changed)
            _refused(saved, mark, DigestMismatchError, mmap=mmap)


def test_a_change_anywhere_in_a_file_that_two_threads_read_is_refused(registry, root):
    """Where one thread reads and another hashes, no piece is missed, be it the last one."""
    given = np.arange(12 * 2**20 // 8 + 1)
    registry.save("m", given)
    file = max((_folder(root) / "object").iterdir(), key=lambda path: path.stat().st_size)
    whole = file.read_bytes()
    for data, error in [
        *((whole[:at] + b"\xff" + whole[at + 1 :], DigestMismatchError) for at in _ends(whole)),
        (whole[:-1], SizeMismatchError),
        (whole + b"\0", SizeMismatchError),
    ]:
        _rewrite(file, data)
        with pytest.raises(error):
            registry.load("m:1")
    _rewrite(file, whole)
    assert np.array_equal(registry.load("m:1"), given)


def _ends(data):
    """The first and the last byte of the first, of a middle and of the last MB."""
    last = len(data) // 2**20 * 2**20
    return [0, 2**20 - 1, 5 * 2**20, 6 * 2**20 - 1, last, len(data) - 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_what_a_fork_writes_into_a_loaded_array_stays_its_own(registry):
    """A large array is in memory that is not shared, as that of numpy is not."""
    registry.save("m", np.zeros(12 * 2**20 // 8))
    loaded = registry.load("m:1")
    (of_child,) = together(_write_one, [loaded])

    assert of_child == 1
    assert loaded[0] == 0
    loaded[0] = 2
    assert registry.load("m:1")[0] == 0


def _write_one(array):
    array[0] = 1
    return array[0]


def test_a_mapped_file_that_changes_later_is_hashed_again(saved, root, mark):
    """That a file was verified once in this process does not vouch for other bytes in it."""
    file = _folder(root) / "object" / "buffer-0.bin"
    saved.load("m:1", mmap=True)
    mark.rmdir()
    os.chmod(file, 0o644)
    with file.open("r+b") as f:
        f.write(b"\xff")

    _refused(saved, mark, DigestMismatchError, mmap=True)


FILES = ["object/object.pkl", "object/buffers.bin", "object/buffer-0.bin", "version.json"]


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("path", FILES)
def test_each_change_of_a_file_has_its_own_error(saved, root, mark, path, mmap):
    """Truncated, emptied, extended, removed, or another version's: each is told apart."""
    file = _folder(root) / path
    data = file.read_bytes()

    for changed in (data[:-1], b"", data + b"\0"):
        _rewrite(file, changed)
        assert path in _refused(saved, mark, SizeMismatchError, mmap=mmap)

    other = (_folder(root, 2) / path).read_bytes()
    assert len(other) == len(data)
    _rewrite(file, other)
    assert path in _refused(saved, mark, DigestMismatchError, mmap=mmap)

    file.unlink()
    assert path in _refused(saved, mark, FileMissingError, mmap=mmap)
    assert _keys(saved.verify()) == {f"{MODEL}/versions/1/{path}"}


def test_a_link_in_a_files_place_is_refused(saved, root, mark):
    """A symbolic link is not followed, though it leads to the same bytes."""
    file = _folder(root) / "object" / "object.pkl"
    file.rename(file.with_suffix(".moved"))
    file.symlink_to(file.with_suffix(".moved"))

    with pytest.raises((StorageError, IntegrityError)):
        saved.load("m:1")
    assert not mark.exists()


def test_a_fifo_in_a_files_place_does_not_hang(saved, root, mark):
    """What is no file is refused."""
    file = _folder(root) / "object" / "object.pkl"
    file.unlink()
    file.mkdir()

    with pytest.raises((StorageError, IntegrityError)):
        saved.load("m:1")
    assert not mark.exists()


@pytest.mark.parametrize("how", ["flipped", "truncated", "removed"])
def test_files_that_a_load_does_not_read_are_found_by_verify(saved, root, how):
    """A changed artifact is refused when it is opened, and named by `verify` at every level."""
    file = _folder(root) / "artifacts" / "a" / "b.txt"
    key = f"{MODEL}/versions/1/artifacts/a/b.txt"
    data = file.read_bytes()
    changed = {"flipped": bytes([data[0] ^ 1]) + data[1:], "truncated": data[:-1]}.get(how)
    _rewrite(file, changed) if changed else file.unlink()

    saved.load("m:1")
    with pytest.raises(IntegrityError):
        saved.get("m:1").open("a/b.txt")
    for subject in (saved, saved["m"], saved.get("m:1")):
        assert _keys(subject.verify()) == {key}
    assert saved.get("m:2").verify()


def test_changed_source_is_found_by_verify(registry, root, monkeypatch):
    """A source that is too long for `version.json` is one of the files that `verify` hashes."""
    monkeypatch.setattr("modelversion.code.MAX_INLINE", 0)

    @mv.track("tracked", registry=registry)
    def fit(x):
        return {"x": x}

    fit(1)
    file = root / "models" / "tracked" / "versions" / "1" / "source" / "entry.py"
    _rewrite(file, file.read_bytes().replace(b"return", b"retuRn"))

    key = "models/tracked/versions/1/source/entry.py"
    assert key in _keys(registry.verify())


def test_extra_files_are_found_by_verify(saved, root):
    """A file that no record lists is named, wherever it lies."""
    extra = [
        f"{MODEL}/versions/1/object/extra.bin",
        f"{MODEL}/versions/2/evil.py",
        f"{MODEL}/versions/1/artifacts/new/deep.txt",
        "models/unknown/versions/1/version.json",
    ]
    for key in extra:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_text("x")

    assert _keys(saved.verify()) == {*extra[:3], "models/unknown"}


# ---- whole directories


def test_a_version_under_another_number_is_refused(saved, root, mark):
    """The folder of version 1 in the place of version 2 is not what was committed there."""
    shutil.rmtree(_folder(root, 2))
    shutil.copytree(_folder(root), _folder(root, 2))

    _refused(saved, mark, DigestMismatchError, reference="m:2")
    assert f"{MODEL}/versions/2/version.json" in _keys(saved.verify())
    assert f"{MODEL}/versions/2/claim.json" in _keys(saved.verify())


def test_a_version_that_was_never_committed_is_not_there(saved, root, mark):
    """A copied folder is no version: nothing in the journal names it."""
    shutil.copytree(_folder(root), _folder(root, 3))

    with pytest.raises(mv.errors.VersionNotFoundError):
        saved.load("m:3")
    assert len(saved["m"]) == 2
    assert not mark.exists()


def test_a_commit_that_names_a_foreign_folder_is_refused(saved, root, mark):
    """Bytes that were committed as another number are refused even if an entry claims them."""
    entry = sorted((root / MODEL / "journal").glob("*.json"))[1]
    other = json.loads(sorted((root / MODEL / "journal").glob("*.json"))[0].read_bytes())
    value = json.loads(entry.read_bytes())
    for field in ("size", "sha256"):
        value["event"][field] = other["event"][field]
    _rewrite(entry, _json.dumps(value))
    shutil.rmtree(_folder(root, 2))
    shutil.copytree(_folder(root), _folder(root, 2))

    message = _refused(mv.Registry(root), mark, OriginMismatchError, reference="m:2")

    assert "m:1" in message


def test_a_model_under_another_name_is_refused(saved, root, mark):
    """A model's folder copied to another name has journals that do not begin there."""
    saved.save("other", 1)
    shutil.rmtree(root / "models" / "other")
    shutil.copytree(root / MODEL, root / "models" / "other")
    copied = mv.Registry(root)

    with pytest.raises(JournalError):
        copied.load("other:1")
    assert any(key.startswith("models/other/journal/") for key in _keys(copied.verify()))
    assert not mark.exists()


def test_a_model_of_another_registry_is_refused(saved, root, tmp_path, mark):
    """The same holds for a model's folder put into another registry."""
    foreign = mv.Registry(tmp_path / "foreign")
    foreign.save("m", 1)
    shutil.rmtree(tmp_path / "foreign" / MODEL)
    shutil.copytree(root / MODEL, tmp_path / "foreign" / MODEL)

    with pytest.raises(JournalError):
        mv.Registry(tmp_path / "foreign").load("m:1")
    assert not mark.exists()


def test_a_download_has_the_committed_record_or_none(saved, tmp_path):
    """The record is compared when it is written out, also if it was read before."""
    version = saved.get("m:1")
    assert version.params is not None
    file = Path(saved.url) / "models/m/versions/1/version.json"
    _rewrite(file, file.read_bytes() + b" ")

    with pytest.raises(SizeMismatchError, match=r"version\.json"):
        version.download(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_copied_out_version_is_checked_against_itself(saved, tmp_path, mark):
    """A directory that stands by itself loads when told to, and not when a byte is other."""
    folder = saved.get("m:1").download(tmp_path / "copy")
    assert mv.open_directory(folder).load(allow_pickle=True)[3] == "text 1"
    mark.rmdir()
    file = folder / "object" / "object.pkl"
    _rewrite(file, file.read_bytes()[:-1] + b"0")

    with pytest.raises(DigestMismatchError):
        mv.open_directory(folder).load(allow_pickle=True)
    assert not mark.exists()


@pytest.mark.parametrize(
    "path", ["../outside", "object/../../outside", "/etc/passwd", "a\\..\\b", "object/./x", ""]
)
def test_a_directory_that_lists_files_outside_is_refused(saved, tmp_path, path):
    """A `version.json` of unknown hands cannot make a reader look beside its folder."""
    folder = saved.get("m:1").download(tmp_path / "copy")
    record = json.loads((folder / "version.json").read_bytes())
    record["files"][0]["path"] = path
    record["object"]["stream"] = path
    (tmp_path / "outside").write_bytes(b"N.")
    _rewrite(folder / "version.json", _json.dumps(record))

    with pytest.raises(ModelVersionError):
        mv.open_directory(folder).load(allow_pickle=True)


# ---- claims


@pytest.mark.parametrize(
    "edit",
    [
        lambda claim: {**claim, "nonce": "0" * 16},
        lambda claim: {**claim, "number": 2},
        lambda claim: {**claim, "model": "other"},
        lambda claim: {**claim, "registry": "0" * 32},
        lambda claim: {k: v for k, v in claim.items() if k != "nonce"},
        lambda claim: [],
        None,
    ],
)
def test_an_edited_claim_is_found_by_verify(saved, root, edit):
    """A claim that is not the committed one, does not parse or is gone is named."""
    file = _folder(root) / "claim.json"
    claim = json.loads(file.read_bytes())
    _rewrite(file, _json.dumps(edit(claim))) if edit else file.unlink()

    assert _keys(saved.verify()) == {f"{MODEL}/versions/1/claim.json"}


# ---- journals


def _read_all(root):
    """What a fresh handle reads of model m."""
    registry = mv.Registry(root)
    model = registry["m"]
    versions = [(v.number, v.digest, dict(v.tags), [n["text"] for n in v.notes]) for v in model]
    return model.aliases, versions, model.latest.ref


@pytest.mark.parametrize("journal", ["journal", "decisions"])
def test_every_flipped_byte_of_an_entry_is_found(saved, root, mark, journal):
    """Reading refuses each changed bit of an entry that has a later one, and `verify` names it."""
    saved["m"].set_alias("champion", 1)
    saved["m"].set_alias("champion", 2)
    saved.get("m:1").note("last")
    first, second, *_ = sorted((root / MODEL / journal).glob("*.json"))
    data = first.read_bytes()
    keys = {f"{MODEL}/{journal}/{file.name}" for file in (first, second)}

    for changed in _flips(data):
        _rewrite(first, changed)
        with pytest.raises(ModelVersionError):
            _read_all(root)
        assert _keys(mv.Registry(root)["m"].verify()) & keys

    _rewrite(first, data)
    assert saved.verify()
    assert not mark.exists()


def test_a_flipped_byte_of_the_registrys_journal_is_found(saved, root):
    """The entry that made a model is bound by the next one."""
    saved.save("other", 1)
    file = root / "policies" / "000000000001.json"
    data = file.read_bytes()
    keys = {f"policies/00000000000{i}.json" for i in (1, 2)}

    for changed in _flips(data):
        _rewrite(file, changed)
        with pytest.raises(ModelVersionError):
            list(mv.Registry(root))
        assert _keys(mv.Registry(root).verify()) & keys


def test_the_last_entry_cannot_name_other_bytes(saved, root):
    """A changed head entry, which nothing binds yet, still gives the saved object or an error."""
    committed = [(v.number, v.digest) for v in saved["m"]]
    last = sorted((root / MODEL / "journal").glob("*.json"))[-1]
    data = last.read_bytes()

    for changed in _flips(data):
        _rewrite(last, changed)
        try:
            version = mv.Registry(root)["m"][2]
            version.params  # noqa: B018 - reads version.json
        except ModelVersionError:
            continue
        assert (2, version.digest) in committed


def test_removed_entries_are_found(saved, root):
    """A hole is an error of its own; a removed end is seen by a handle that had read it."""
    for i in range(3):
        saved.get("m:1").note(f"n{i}")
    entries = sorted((root / MODEL / "journal").glob("*.json"))
    kept = entries[2].read_bytes()

    entries[2].unlink()
    with pytest.raises(mv.errors.JournalGapError):
        _read_all(root)
    assert f"{MODEL}/journal/{entries[3].name}" in _keys(mv.Registry(root)["m"].verify())

    entries[2].write_bytes(kept)
    entries[-1].unlink()
    with pytest.raises(mv.errors.JournalRewoundError):
        saved["m"].latest.ref  # noqa: B018


def test_swapped_entries_are_found(saved, root):
    """Two entries in each other's place are moved entries, not history."""
    for i in range(3):
        saved.get("m:1").note(f"n{i}")
    entries = sorted((root / MODEL / "journal").glob("*.json"))
    second, third = entries[1].read_bytes(), entries[2].read_bytes()
    _rewrite(entries[1], third)
    _rewrite(entries[2], second)

    with pytest.raises(mv.errors.JournalForkError):
        _read_all(root)


# ---- merges and hints


@pytest.fixture
def merged(saved, root, merges):
    """A model whose facts have a merge of 32 entries, and what reading it gives."""
    for i in range(33):
        saved.get("m:1").note(f"n{i}")
    merges()
    (merge,) = (root / MODEL / "journal" / "s1").glob("*.jsonl")
    return merge, _read_all(root)


@pytest.mark.parametrize("how", ["removed", "torn", "empty", "stale", "garbage"])
def test_a_broken_merge_or_hint_changes_nothing_that_is_read(merged, root, how):
    """Merges and hints only save requests: without them, or with wrong ones, reading is right."""
    merge, expected = merged
    hint = root / MODEL / "journal" / "head.json"
    data = merge.read_bytes()
    texts = {"torn": data[:-7], "empty": b"", "stale": data[: len(data) // 2], "garbage": b"\xff\n"}
    hints = {
        "torn": b'{"position":',
        "empty": b"",
        "stale": b'{"position":0}',
        "garbage": b'{"position":9999999999999}',
    }
    for file, bad in ((merge, texts.get(how)), (hint, hints.get(how))):
        kept = file.read_bytes()
        file.unlink()
        if bad is not None:
            file.write_bytes(bad)

        assert _read_all(root) == expected

        file.unlink(missing_ok=True)
        file.write_bytes(kept)


@pytest.mark.parametrize("position", [1, 31, 33, 64, 10**11 * 32, -32, True, "32", None, [32], 3.5])
def test_a_hint_that_lies_is_not_believed(merged, root, position):
    """Whatever position a hint tells, the head is where the entries end."""
    _, expected = merged
    hint = root / MODEL / "journal" / "head.json"
    _rewrite(hint, json.dumps({"position": position}).encode())

    assert _read_all(root) == expected


def test_flipped_bytes_of_a_merge_are_seen(merged, root):
    """A changed bit anywhere in a merge, its folded state too, makes it ignored and is found."""
    merge, expected = merged
    data = merge.read_bytes()
    state = data.rindex(b"\n", 0, data.rindex(b"\n"))
    places = [*range(0, state, 97), *range(state, len(data))]

    for i in places:
        _rewrite(merge, data[:i] + bytes([data[i] ^ (1 << i % 7)]) + data[i + 1 :])
        assert _read_all(root) == expected, (i - state, data[i - 20 : i + 20])
        assert f"{MODEL}/journal/s1/{merge.name}" in _keys(mv.Registry(root)["m"].verify())


def test_a_forged_merge_is_named_by_verify(merged, root):
    """A merge whose state is not what its entries fold to is found, and its entries are not."""
    merge, _ = merged
    *lines, state, _ = merge.read_bytes().split(b"\n")
    tail = json.loads(state)
    tail["state"]["committed"] = [[1, 1]]
    body = b"\n".join([*lines, _json.dumps(tail)])
    _rewrite(merge, body + b"\n" + _json.digest(body).encode())

    assert _keys(mv.Registry(root)["m"].verify()) == {f"{MODEL}/journal/s1/{merge.name}"}


# ---- the registry's own record


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"format":1}', b'{"format":1,"id":7}'])
def test_a_broken_registry_record_is_refused(saved, root, data):
    """A place whose `registry.json` does not say what it is is neither read nor written."""
    _rewrite(root / "registry.json", data)

    with pytest.raises((RecordError, StorageError)):
        mv.Registry(root).load("m:1")
    with pytest.raises((RecordError, StorageError)):
        mv.Registry(root).save("m", 2)


def test_a_newer_format_is_refused_by_name(saved, root):
    """A format of the future is told as that, not as damage."""
    _rewrite(root / "registry.json", b'{"format":2,"other":true}')

    with pytest.raises(mv.errors.NewerFormatError, match="format 2"):
        mv.Registry(root).load("m:1")
