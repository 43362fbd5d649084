"""Serializers of others: registered, found by their entry point, and held to what all are."""

import io
import subprocess
import sys

import numpy as np
import pytest

from modelversion import serializers
from modelversion.errors import InvalidInputError
from modelversion.layout import OBJECT
from modelversion.serializers import ObjectRecord
from modelversion.testing import SerializerTests

STREAM = f"{OBJECT}/array.npy"


class Embedding:
    def __init__(self, vectors):
        self.vectors = vectors


class EmbeddingSerializer:
    """Keeps the array alone, as `.npy`, which runs no code when it is read."""

    name = "embedding-npy"

    def accepts(self, value):
        return isinstance(value, Embedding)

    def dump(self, value, spool):
        file = io.BytesIO()
        np.save(file, value.vectors, allow_pickle=False)
        spool.add(STREAM, file.getvalue())
        return ObjectRecord(serializer=self.name, type="embedding", stream=STREAM)

    def load(self, record, source, *, mmap, allow):
        return Embedding(np.load(io.BytesIO(source.read(record.stream)), allow_pickle=False))


class TestEmbeddings(SerializerTests):
    """The tests for authors pass on a right serializer."""

    serializer = EmbeddingSerializer()

    def make(self):
        return Embedding(np.arange(12.0).reshape(4, 3))

    def same(self, one, other):
        return np.array_equal(one.vectors, other.vectors)


@pytest.fixture
def registered():
    """The serializer, for one test."""
    serializer = EmbeddingSerializer()
    serializers.register(serializer)
    yield serializer
    serializers.unregister(serializer)


def test_a_registered_serializer_saves_what_it_accepts(registry, registered):
    """Its name is recorded, and the object loads without `allow_pickle`; others are pickled."""
    version = registry.save("words", Embedding(np.eye(2)))
    other = registry.save("other", {"w": [1]})

    assert version._record.object.serializer == "embedding-npy"
    assert version.type == "embedding"
    assert np.array_equal(version.load(allow_pickle=False).vectors, np.eye(2))
    assert other._record.object.serializer == "cloudpickle"


def test_the_last_one_registered_goes_first(registry, registered):
    """So that a user's own replaces one of a package."""

    class Newer(EmbeddingSerializer):
        name = "newer"

    newer = Newer()
    serializers.register(newer)
    try:
        version = registry.save("words", Embedding(np.eye(2)))
    finally:
        serializers.unregister(newer)

    assert version._record.object.serializer == "newer"


def test_a_serializer_that_is_not_there_is_named(registry, registered):
    """The error says which package is needed; there is no fall-back to another."""
    version = registry.save("words", Embedding(np.eye(2)))
    serializers.unregister(registered)

    try:
        with pytest.raises(InvalidInputError, match="'embedding-npy', which is not installed"):
            version.load(allow_pickle=True)
    finally:
        serializers.register(registered)


PACKAGE = """
import numpy as np
from modelversion.layout import OBJECT

class Vectors:
    name = "vectors"
    def accepts(self, value): return type(value).__name__ == "Embedding"
    def dump(self, value, spool): raise AssertionError("only read here")
    def load(self, record, source, *, mmap, allow):
        return np.frombuffer(bytes(source.read(record.stream)), "<f8")

serializer = Vectors()
"""
READ = """
import sys
import modelversion as mv
print(mv.Registry(sys.argv[1]).load("words").tolist())
"""


def test_an_installed_package_is_found_by_its_entry_point(registry, tmp_path):
    """A process that has registered nothing loads what it was saved with."""

    class Vectors(EmbeddingSerializer):
        name = "vectors"

        def dump(self, value, spool):
            spool.add(f"{OBJECT}/v", value.vectors.astype("<f8").tobytes())
            return ObjectRecord(serializer=self.name, type="vectors", stream=f"{OBJECT}/v")

    writer = Vectors()
    serializers.register(writer)
    registry.save("words", Embedding(np.array([1.0, 2.0])))
    serializers.unregister(writer)
    site = tmp_path / "site"
    (site / "vectors-1.0.dist-info").mkdir(parents=True)
    (site / "vectors.py").write_text(PACKAGE)
    (site / "vectors-1.0.dist-info/METADATA").write_text("Name: vectors\nVersion: 1.0\n")
    (site / "vectors-1.0.dist-info/entry_points.txt").write_text(
        "[modelversion.serializers]\nvectors = vectors:serializer\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.append({str(site)!r})\n{READ}", registry.url],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "[1.0, 2.0]\n", done.stderr


class Nameless:
    accepts = dump = load = None


class Pretender(EmbeddingSerializer):
    name = "cloudpickle"


@pytest.mark.parametrize(
    ("wrong", "found"),
    [(Nameless(), "lacks name"), (object(), "lacks name, accepts"), (Pretender(), "cloudpickle")],
)
def test_what_is_no_serializer_is_not_registered(wrong, found):
    """The error says what it lacks."""
    with pytest.raises(InvalidInputError, match=found):
        serializers.register(wrong)
    assert wrong not in serializers._REGISTERED


# ---- the tests for authors find what is wrong


class Greedy(EmbeddingSerializer):
    name = "greedy"

    def accepts(self, value):
        return True


class Forgetful(EmbeddingSerializer):
    name = "forgetful"

    def load(self, record, source, *, mmap, allow):
        return Embedding(np.zeros((4, 3)))


class Elsewhere(EmbeddingSerializer):
    name = "elsewhere"

    def dump(self, value, spool):
        super().dump(value, spool)
        spool.add("artifacts/more", b"more")
        return ObjectRecord(serializer=self.name, type="embedding", stream=STREAM)


class Trusting(EmbeddingSerializer):
    """Reads a file behind the back of the digests."""

    name = "trusting"

    def load(self, record, source, *, mmap, allow):
        path = f"{source._store.url}/{source._folder}/{record.stream}"
        with open(path, "rb") as file:
            data = file.read()
        return Embedding(np.frombuffer(data[-96:].rjust(96), "<f8").reshape(4, 3))


@pytest.mark.parametrize(
    ("serializer", "test"),
    [
        (Greedy(), "test_it_accepts_its_objects_and_no_others"),
        (Forgetful(), "test_an_object_comes_back"),
        (Forgetful(), "test_an_object_comes_back_mapped"),
        (Forgetful(), "test_no_code_runs_unless_it_is_allowed"),
        (Elsewhere(), "test_its_files_have_a_place_of_their_own"),
        (Trusting(), "test_a_changed_file_is_refused"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_wrong_serializer_fails_the_tests_for_authors(serializer, test):
    """Each of them can fail."""
    tests = TestEmbeddings()
    tests.serializer = serializer

    with pytest.raises(AssertionError):
        getattr(tests, test)()


def test_an_author_has_to_give_an_object():
    """The error says so."""
    with pytest.raises(NotImplementedError, match="give an object"):
        SerializerTests().make()
