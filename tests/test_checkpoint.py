"""Checkpoints: three lines kept elsewhere find a journal that was cut off or rewritten."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modelversion as mv
from modelversion import _json, layout, verification
from modelversion.checkpoint import Checkpoint, Pin
from modelversion.errors import InvalidInputError, NewerFormatError, NotARegistryError

JOURNALS = ["policies", "models/churn/journal", "models/churn/decisions"]


@pytest.fixture
def root(tmp_path):
    """The registry's folder."""
    return tmp_path / "registry"


@pytest.fixture
def full(registry):
    """Three models, and five entries or more in every journal of the first."""
    registry.save("churn", {"w": 0})
    for name in ("base", "Fraud", "one", "two"):
        registry.save(name, {"w": 1})
    for i in range(5):
        registry["churn"].latest.note(f"note {i}")
        registry["churn"].set_alias(f"alias-{i}", 1)
    return registry


def entries(root, folder):
    return sorted((root / folder).glob("*.json"))


def rewrite(path, data):
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def rechain(files, first):
    """Give every file from an index on the digest of the one before: a consistent forgery."""
    for before, file in zip(files[first - 1 :], files[first:], strict=False):
        value = json.loads(file.read_bytes())
        rewrite(file, _json.dumps({**value, "previous": _json.digest(before.read_bytes())}))


def found(root, since=None):
    """What a handle that has seen nothing finds."""
    return {problem.key for problem in mv.Registry(root).verify(since=since).problems}


# ---- the text


def test_a_checkpoint_is_three_lines(full):
    """What, how far each journal had got, and a sha256 over both."""
    checkpoint = full.checkpoint()

    what, heads, digest = str(checkpoint).splitlines()
    assert what.startswith(f"modelversion checkpoint 1, registry {full.id}, 20")
    assert heads.startswith("journals policies=5:")
    assert [part.partition("=")[0] for part in heads.split()[2:]] == [
        "base/journal",
        "churn/decisions",
        "churn/journal",
        "fraud/journal",
        "one/journal",
        "two/journal",
    ]
    assert f"{digest}\n" == sealed(what, heads).splitlines(keepends=True)[2]
    assert repr(checkpoint) == (
        f"<Checkpoint of 7 journals at {checkpoint.time}, sha256 {checkpoint.digest}>"
    )


def test_a_head_in_a_checkpoint_is_what_sha256sum_prints(full, root):
    """A checkpoint can be compared with the files by eye."""
    checkpoint = full.checkpoint()

    for folder, pinned in checkpoint.heads.items():
        last = entries(root, folder)[-1]
        assert last.name == f"{pinned.position:012d}.json"
        assert _json.digest(last.read_bytes()) == pinned.digest


names = st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True).filter(
    lambda name: name not in ("con", "prn", "aux", "nul")
)
pins = st.builds(Pin, st.integers(1, 10**12 - 1), st.from_regex(r"[0-9a-f]{64}", fullmatch=True))
folders = st.just(layout.POLICIES) | st.builds(
    layout.journal, names, st.sampled_from(["journal", "decisions", "observations"])
)
checkpoints = st.builds(
    Checkpoint,
    registry=st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
    time=st.datetimes(timezones=st.just(_json.UTC)).map(_json.timestamp),
    heads=st.dictionaries(folders, pins, max_size=8),
)


@given(checkpoints)
def test_a_checkpoint_comes_back_from_its_text(checkpoint):
    """Printing and parsing are inverse, whatever an editor does to the ends of the lines."""
    text = str(checkpoint)

    assert Checkpoint.parse(text) == checkpoint
    assert Checkpoint.parse(text.replace("\n", "\r\n")) == checkpoint
    assert Checkpoint.parse(f"\n{text.strip()}") == checkpoint
    assert str(Checkpoint.parse(text)) == text


@settings(max_examples=100)
@given(checkpoints, st.data())
def test_a_changed_text_is_refused(checkpoint, data):
    """One other character anywhere is noticed when the text is read."""
    text = str(checkpoint).strip()
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda c: c != text[at]))

    with pytest.raises((InvalidInputError, NewerFormatError)):
        Checkpoint.parse(text[:at] + other + text[at + 1 :])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "one line",
        "a\nb\nc",
        "a\nb\nc\nd",
        None,
        7,
        b"modelversion checkpoint 1",
        "modelversion checkpoint 1, registry xyz, 2026\njournals\nsha256 0",
        "modelversion checkpoint 0, registry ab, now\njournals x\nsha256 " + "0" * 64,
    ],
)
def test_what_is_no_checkpoint_is_refused(full, text):
    """The error says what a checkpoint is."""
    with pytest.raises(InvalidInputError, match=r"checkpoint"):
        Checkpoint.parse(text)
    if text is not None:
        with pytest.raises(InvalidInputError, match=r"checkpoint"):
            full.verify(since=text)


def sealed(first, second):
    body = f"{first}\n{second}"
    return f"{body}\nsha256 {_json.digest(body.encode())}\n"


@pytest.mark.parametrize(
    "heads",
    [
        "journals ../etc/passwd=1:" + "0" * 64,
        "journals churn/../x=1:" + "0" * 64,
        "journals CHURN/journal=1:" + "0" * 64,
        "journals con/journal=1:" + "0" * 64,
        "journals churn=1:" + "0" * 64,
        "journals churn/journal=0:" + "0" * 64,
        "journals churn/journal=1:" + "0" * 63,
        "journals  ",
    ],
)
def test_names_in_a_checkpoint_are_checked(heads):
    """A sealed text still cannot name a key outside a registry's journals."""
    first = "modelversion checkpoint 1, registry ab, 2026-11-01T12:00:00.000000Z"

    with pytest.raises(InvalidInputError):
        Checkpoint.parse(sealed(first, heads))


def test_a_time_that_is_none_is_refused():
    """The time has the stored form and no other."""
    text = sealed("modelversion checkpoint 1, registry ab, yesterday", "journals")

    with pytest.raises(InvalidInputError, match="which is no time"):
        Checkpoint.parse(text)


def test_a_checkpoint_of_a_newer_kind_is_told_as_that():
    """It is no damage that a newer release prints more."""
    text = sealed("modelversion checkpoint 2, registry ab, 2026", "something else")

    with pytest.raises(NewerFormatError, match="install a newer release"):
        Checkpoint.parse(text)


# ---- what verify finds with it


def test_a_registry_that_grew_continues_its_checkpoint(full):
    """New entries, models and merges of what was pinned are no fault."""
    checkpoint = full.checkpoint()
    full.save("new", {"w": 9})
    for i in range(70):
        full["churn"].latest.note(f"later {i}")
        full["churn"].set_alias("champion", 1)

    report = full.verify(since=checkpoint)

    assert report
    assert report.since == checkpoint
    assert f"nothing of the checkpoint of {checkpoint.time} is gone" in str(report)
    assert full.verify(since=str(checkpoint))


def test_a_checkpoint_is_read_from_the_file_it_was_pinned_in(full, tmp_path):
    """A path is read; a text is never taken for a path."""
    file = tmp_path / "checkpoint.txt"
    file.write_text(str(full.checkpoint()), encoding="utf-8")

    assert full.verify(since=file)
    with pytest.raises(InvalidInputError, match="three lines"):
        full.verify(since=str(file))
    with pytest.raises(InvalidInputError, match="no checkpoint can be read from"):
        full.verify(since=tmp_path / "absent.txt")


def test_a_path_that_is_a_text_is_told_how_to_be_a_path(registry):
    """A text is the three lines themselves."""
    with pytest.raises(InvalidInputError, match=r"found 'pins/checkpoint.txt'; .*pathlib.Path"):
        registry.verify(since="pins/checkpoint.txt")


@pytest.mark.parametrize("folder", JOURNALS)
@pytest.mark.parametrize("kept", [0, 1, 3, 4])
def test_a_journal_that_was_cut_off_is_found_and_named(full, root, folder, kept):
    """Entries removed from the end leave a true chain; only the checkpoint has seen them."""
    checkpoint = full.checkpoint()
    files = entries(root, folder)
    for file in files[kept:]:
        file.unlink()

    report = mv.Registry(root).verify(since=checkpoint)

    problems = [p for p in report.problems if p.key == f"{folder}/{files[-1].name}"]
    assert len(problems) == 1
    assert "cut off or restored from an older copy" in str(problems[0])


def test_without_a_checkpoint_a_cut_end_is_not_found(full, root):
    """That is why there are checkpoints: what is left is in perfect order."""
    entries(root, JOURNALS[2])[-1].unlink()

    assert found(root) == set()


@pytest.mark.parametrize("folder", JOURNALS[1:])
@pytest.mark.parametrize("at", [1, 3, -1])
def test_a_consistent_forgery_is_found_and_named(full, root, folder, at):
    """Somebody who edits an entry and chains all later ones again is contradicted by the pin."""
    checkpoint = full.checkpoint()
    files = entries(root, folder)
    value = json.loads(files[at].read_bytes())
    rewrite(files[at], _json.dumps({**value, "actor": {"name": "mallory", "source": "given"}}))
    rechain(files, at % len(files) + 1)

    assert found(root) == set()
    assert found(root, checkpoint) == {f"{folder}/{files[-1].name}"}


@pytest.mark.parametrize("folder", JOURNALS)
def test_a_handle_reports_what_was_rewritten_since_it_looked(full, root, folder):
    """To `verify`, what its own handle remembers is a pin too; it reports and does not raise."""
    last = entries(root, folder)[-1]
    value = json.loads(last.read_bytes())
    rewrite(last, _json.dumps({**value, "nonce": "0" * 16}))

    # What a model has adopted of the registry's own journal is a pin of its last entry.
    adopted = {"models/churn/decisions/000000000001.json"} if folder == JOURNALS[0] else set()
    assert found(root) == adopted
    report = full.verify()
    assert {problem.key for problem in report.problems} - adopted == {f"{folder}/{last.name}"}
    assert "is another since this handle read it" in str(report)


@pytest.mark.parametrize("folder", JOURNALS)
def test_a_journal_that_was_cut_off_and_grew_again_is_found(full, root, folder):
    """A place that is taken again by another entry does not hide the cut."""
    checkpoint = full.checkpoint()
    key = f"{folder}/{entries(root, folder)[-1].name}"
    entries(root, folder)[-1].unlink()
    shutil.rmtree(root / "models" / "two")
    again = mv.Registry(root, actor="mallory")
    again.save("two", {"w": 1})
    again["churn"].latest.note("another")
    again["churn"].set_alias("another", 1)

    assert found(root) == set() or folder == JOURNALS[0]
    assert key in found(root, checkpoint)


def test_a_registry_put_back_from_an_older_copy_is_found(full, root, tmp_path):
    """Every journal that had grown is named."""
    shutil.copytree(root, tmp_path / "older")
    full.save("later", {"w": 2})
    full["churn"].set_alias("champion", 1)
    checkpoint = full.checkpoint()
    shutil.rmtree(root)
    shutil.move(tmp_path / "older", root)

    assert found(root) == set()
    assert found(root, checkpoint) == {
        "policies/000000000006.json",
        "models/churn/decisions/000000000007.json",
        "models/later/journal/000000000001.json",
    }


def test_a_model_that_was_removed_whole_is_found(full, root):
    """The folder of a model, gone with all of its journals, is named by each."""
    checkpoint = full.checkpoint()
    shutil.rmtree(root / "models" / "churn")

    names = {key.rsplit("/", 1)[0] for key in found(root, checkpoint)}
    assert names >= set(JOURNALS[1:])


def test_a_place_that_is_empty_now_is_found(full, root):
    """A registry that is gone does not pass for a new one."""
    checkpoint = full.checkpoint()
    shutil.rmtree(root)

    assert layout.REGISTRY in found(root, checkpoint)


def test_a_checkpoint_of_another_registry_is_refused(full, tmp_path):
    """It says nothing about this one, and a replaced registry does not pass."""
    other = mv.Registry(tmp_path / "other")
    other.save("churn", 1)

    with pytest.raises(InvalidInputError, match="who replaced it"):
        other.verify(since=full.checkpoint())


def test_an_empty_place_has_nothing_to_pin(registry):
    """A checkpoint of nothing would vouch for nothing."""
    with pytest.raises(NotARegistryError, match="no journal to pin"):
        registry.checkpoint()


def test_a_pin_that_is_not_compared_finds_nothing(full, root, monkeypatch):
    """The comparison with the checkpoint is what finds a cut end, nothing beside it."""
    checkpoint = full.checkpoint()
    entries(root, JOURNALS[2])[-1].unlink()
    assert found(root, checkpoint)

    monkeypatch.setattr(verification, "_pinned_problems", lambda home, since: iter(()))

    assert not found(root, checkpoint)


def test_a_thousand_models_are_three_lines(memory):
    """The text stays three lines, and one cut journal among a thousand models is named."""
    registry = mv.Registry("memory://thousand")
    registry.save("m0", 1)
    heads = {f"models/m{i}/journal": Pin(1, f"{i:064x}") for i in range(1, 1000)}
    pinned = registry.checkpoint()
    text = str(Checkpoint(registry=pinned.registry, time=pinned.time, heads=pinned.heads | heads))

    assert len(text.splitlines()) == 3
    assert len(text) < 100_000
    keys = {problem.key for problem in registry.verify(since=text).problems}
    assert keys == {f"{folder}/000000000001.json" for folder in heads}


# ---- every change of a journal, with and without a checkpoint


def changes(files):
    """Give (what, change) for every entry: edited, removed, in another's place, forged."""
    for i, file in enumerate(files):
        data = file.read_bytes()
        value = json.loads(data)
        name = {"name": "mallory", "source": "given"}
        edited = _json.dumps({**value, "actor": name})
        yield f"edited {i}", lambda f=file, d=edited: rewrite(f, d)
        yield f"reordered {i}", lambda i=i: swap(files[i - 1], files[i])
        yield f"forged {i}", lambda i=i: insert(files, i)
        yield f"removed {i}", file.unlink


def swap(one, other):
    first, second = one.read_bytes(), other.read_bytes()
    rewrite(one, second)
    rewrite(other, first)


def insert(files, at):
    """Put an entry of our own before an index, with the right position and digest before it."""
    folder, data = files[0].parent, [file.read_bytes() for file in files]
    value = json.loads(data[at])
    forged = _json.dumps({**value, "nonce": "0" * 16, "event": {**value["event"], "number": 1}})
    moved = [
        _json.dumps({**json.loads(old), "position": i}) for i, old in enumerate(data[at:], at + 2)
    ]
    for i, new in enumerate([forged, *moved], at + 1):
        rewrite(folder / f"{i:012d}.json", new)


@pytest.mark.parametrize("folder", JOURNALS)
def test_every_change_of_any_entry_is_found(full, root, folder, tmp_path):
    """Edited, removed, reordered, forged: found, and the end against the pinned checkpoint."""
    checkpoint = full.checkpoint()
    kept = tmp_path / "kept"
    shutil.copytree(root / folder, kept)
    last = len(entries(root, folder)) - 1
    seen = []

    for what, change in list(changes(entries(root, folder))):
        change()
        problems = found(root, checkpoint)
        assert any(key.startswith(f"{folder}/") for key in problems), what
        if not what.endswith(f" {last}"):
            assert any(key.startswith(f"{folder}/") for key in found(root)), what
        seen.append(what)
        shutil.rmtree(root / folder)
        shutil.copytree(kept, root / folder)

    assert len(seen) == 4 * (last + 1)
    assert found(root, checkpoint) == set()


def test_a_change_below_a_merge_is_found(full, root, merges):
    """Entries that are also merged are held against the chain and the merge."""
    for i in range(40):
        full["churn"].latest.note(f"n{i}")
    merges()
    checkpoint = full.checkpoint()
    folder = JOURNALS[1]
    files = entries(root, folder)
    files = [file for file in files if file.name != "head.json"]
    value = json.loads(files[10].read_bytes())
    rewrite(files[10], _json.dumps({**value, "actor": {"name": "mallory", "source": "given"}}))
    rechain(files, 11)

    assert found(root) == {f"{folder}/s1/000000000032.jsonl"}
    assert f"{folder}/{files[-1].name}" in found(root, checkpoint)


def test_a_broken_registry_journal_does_not_hide_the_models(full, root):
    """`verify` names the broken entry of `policies/` and goes on with the models' folders."""
    file = entries(root, JOURNALS[0])[1]
    rewrite(file, file.read_bytes() + b" ")
    broken = Path(root / "models" / "churn" / "versions" / "1" / "object" / "object.pkl")
    rewrite(broken, b"other")
    (root / "models" / "not a name").mkdir()

    # What the model has adopted cannot be held against a broken journal.
    assert found(root) - {"models/churn/decisions/000000000001.json"} == {
        "policies/000000000003.json",
        "models/churn/versions/1/object/object.pkl",
    }
