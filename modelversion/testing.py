"""What authors of plug-ins inherit in their tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelversion import serializers
from modelversion.errors import IntegrityError, UntrustedPickleError
from modelversion.layout import OBJECT
from modelversion.registry import Registry
from modelversion.serializers import Serializer
from modelversion.version import Version


class SerializerTests:
    """Tests that every serializer passes; inherit them, and give a serializer and an object.

    Names and signatures are pytest's, and nothing of pytest is imported:

        class TestTables(SerializerTests):
            serializer = TableSerializer()

            def make(self):
                return Table(rows=3)
    """

    serializer: Serializer

    def make(self) -> Any:
        """Give an object that the serializer accepts, the same at each call."""
        raise NotImplementedError("give an object of the kind that the serializer saves")

    def same(self, one: Any, other: Any) -> bool:
        """Tell whether a loaded object is the saved one; by `==` unless you say otherwise."""
        return bool(one == other)

    # ---- what is tested

    def test_it_accepts_its_objects_and_no_others(self) -> None:
        """It must not save what it was not made for."""
        assert self.serializer.accepts(self.make())
        for other in (None, 1, "text", object(), {"w": [1]}, type):
            assert not self.serializer.accepts(other), f"it accepts {other!r}"

    def test_an_object_comes_back(self) -> None:
        """Saved with this serializer, and the same when it is loaded."""
        with self._saved() as version:
            assert version._record.object is not None
            assert version._record.object.serializer == self.serializer.name
            assert self.same(version.load(allow_pickle=True), self.make())

    def test_an_object_comes_back_mapped(self) -> None:
        """With buffers that are read-only maps."""
        with self._saved() as version:
            assert self.same(version.load(mmap=True, allow_pickle=True), self.make())

    def test_its_files_have_a_place_of_their_own(self) -> None:
        """Below `object/`, and there is one."""
        with self._saved() as version:
            paths = [file.path for file in version.files]
            assert paths, "it wrote no file"
            assert all(path.startswith(f"{OBJECT}/") for path in paths), paths

    def test_no_code_runs_unless_it_is_allowed(self) -> None:
        """Without `allow_pickle` it loads the same object, or refuses with the error for that."""
        with self._saved() as version:
            try:
                value = version.load(allow_pickle=False)
            except UntrustedPickleError:
                return
            assert self.same(value, self.make())

    def test_a_changed_file_is_refused(self) -> None:
        """Each of its files is read through its digest."""
        with self._saved() as version:
            folder = Path(version._line.home.store.url) / version._line.folder(version.number)
            for file in version.files:
                whole = (folder / file.path).read_bytes()
                for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
                    _replace(folder / file.path, damaged)
                    assert _refused(version), f"{file.path} was changed, and it loads"
                _replace(folder / file.path, whole)

    @contextmanager
    def _saved(self) -> Iterator[Version]:
        serializers.register(self.serializer)
        try:
            with tempfile.TemporaryDirectory(prefix="modelversion-testing-") as folder:
                yield Registry(Path(folder) / "registry").save("object", self.make())
        finally:
            serializers.unregister(self.serializer)


def _replace(file: Path, data: bytes) -> None:
    file.unlink()
    file.write_bytes(data)


def _refused(version: Version) -> bool:
    try:
        version.load(allow_pickle=True)
    except IntegrityError:
        return True
    return False
