"""What is stored, as immutable values, and what each request does to it."""

import re

from modelversion.storage import Item

CREATED, TAKEN, UNKNOWN = "created", "taken", "unknown"
WRITES = ("create", "put", "remove")
# Created once and never removed: what a reader found there, it will find again.
_FIXED = re.compile(
    r"registry\.json|(.*/(journal|decisions)|policies)/\d{12}\.json|.*/versions/\d+/claim\.json"
)
_MERGED = re.compile(r".*/s\d/\d{12}\.jsonl|.*/head\.json")


def is_fixed(key):
    """Tell whether a key is created once and never removed."""
    return _FIXED.fullmatch(key) is not None


def is_merged(key):
    """Tell whether a key is a merge or a hint, which may be lost and replaced."""
    return _MERGED.fullmatch(key) is not None


class Disk:
    """One content of the storage; equal contents are one object."""

    __slots__ = ("_moves", "_table", "content", "id")

    def __init__(self, content, table):
        self.content = content
        self.id = len(table)
        self._table = table
        self._moves = {}

    def apply(self, request):
        """Give the disk after a request, and the answer to it."""
        found = self._moves.get(request)
        if found is None:
            content, answer = _OPERATIONS[request[0]](self.content, *request[1:])
            after = self if content is self.content else disk(content, self._table)
            found = self._moves[request] = (after, answer)
        return found


def disk(content, table):
    """Give the one disk of a content."""
    key = frozenset(content.items())
    if key not in table:
        table[key] = Disk(content, table)
    return table[key]


def _get(content, key):
    return content, content.get(key)


def _create(content, key, data):
    return (content, TAKEN) if key in content else ({**content, key: data}, CREATED)


def _put(content, key, data):
    return {**content, key: data}, "put"


def _remove(content, key):
    if key not in content:  # a folder, which is but a part of keys here
        return content, None
    return {k: v for k, v in content.items() if k != key}, "removed"


def _list(content, folder):
    start = f"{folder}/" if folder else ""
    items = {}
    for key, data in content.items():
        if key.startswith(start):
            name, _, below = key[len(start) :].partition("/")
            items[name] = Item(name, True) if below else Item(name, False, len(data))
    return content, tuple(items[name] for name in sorted(items))


def _count(content, *folders):
    """Count entries, for the judges only: no code of ours can see them all at once."""
    counts = [
        sum(1 for key in content if is_fixed(key) and key.rpartition("/")[0] == folder)
        for folder in folders
    ]
    return content, tuple(counts)


_OPERATIONS = {
    "get": _get,
    "create": _create,
    "put": _put,
    "remove": _remove,
    "list": _list,
    "count": _count,
    "now": _count,
}
