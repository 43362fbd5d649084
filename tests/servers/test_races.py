"""Many writers of one key, and of one model, on every server."""

import os

import pytest
from processes import threads_together, together

from modelversion.storage import KeyAbsent, KeyTaken, open_store

WRITERS = 16
CLAIMS = 50
# Writers that save are threads of four processes, each with a registry handle of its own: what
# sixteen processes would spend on importing drivers says nothing about races.
THREADS = 4
# moto answers one request at a time, so that sixteen writers wait for each other: ten saves of each
# take two minutes there; `make reliability` does them.
SAVES = {"moto": int(os.environ.get("MODELVERSION_TEST_MOTO_SAVES", "3"))}


def store_of(server, url, port=None):
    return open_store(url, storage_options=server.options(port))


def test_sixteen_processes_race_for_fifty_claims(place, many):
    """Each of 50 keys is created by exactly one of 16 processes, and holds the winner's bytes."""
    url = place.place()

    def claim(writer):
        store, won = store_of(place, url), []
        for number in range(CLAIMS):
            try:
                store.put_new(f"versions/{number}/claim.json", f"writer {writer}".encode())
            except KeyTaken:
                continue
            won.append(number)
        return won

    won = many(claim, range(WRITERS))

    assert sorted(number for part in won for number in part) == list(range(CLAIMS))
    store = store_of(place, url)
    for writer, numbers in enumerate(won):
        for number in numbers:
            assert store.read(f"versions/{number}/claim.json") == f"writer {writer}".encode()


def test_sixteen_writers_of_ten_saves_lose_none(place, many, open_registry):
    """Every acknowledged version has a number of its own and loads; the chain is whole."""
    url = place.place()
    first = open_registry(place, url).save("churn", "first").number
    saves = SAVES.get(place.name, 10)

    def save(writer):
        registry = open_registry(place, url)
        return [registry.save("churn", (writer, turn)).number for turn in range(saves)]

    def save_in_threads(first):
        return threads_together(save, range(first, first + THREADS))

    parts = many(save_in_threads, range(0, WRITERS, THREADS))
    given = [numbers for part in parts for numbers in part]

    registry = open_registry(place, url)
    numbers = sorted([first, *(number for part in given for number in part)])
    assert numbers == list(range(1, WRITERS * saves + 2))
    assert [version.number for version in registry["churn"].versions()] == numbers
    for writer, part in enumerate(given):
        for turn, number in enumerate(part):
            assert registry.load(f"churn:{number}") == (writer, turn)
    report = registry.verify()
    assert report.ok, str(report)
    assert report.pending == ()


def test_threads_share_one_handle(server, open_registry):
    """Eight threads that save through one registry each get a version of their own."""
    registry = open_registry(server, server.place())
    registry.save("churn", "first")

    given = threads_together(lambda i: registry.save("churn", i).number, range(8))

    assert sorted(given) == list(range(2, 10))
    assert all(registry.load(f"churn:{number}") == i for i, number in enumerate(given))


def test_what_another_process_wrote_is_seen_at_once(place, many, open_registry):
    """A handle that looked and found nothing sees what a second process wrote since."""
    url = place.place()
    store, registry = store_of(place, url), open_registry(place, url)
    registry.save("churn", 1)
    with pytest.raises(KeyAbsent):
        store.read("models/churn/versions/2/claim.json")
    assert [item.name for item in store.list("models/churn/versions")] == ["1"]
    assert registry["churn"].latest.number == 1

    many(lambda value: open_registry(place, url).save("churn", value).number, [2])

    assert b'"number":2' in store.read("models/churn/versions/2/claim.json")
    assert [item.name for item in store.list("models/churn/versions")] == ["1", "2"]
    assert registry["churn"].latest.number == 2
    assert registry.load("churn") == 2


def test_a_forked_process_uses_the_handle_it_inherited(server, open_registry):
    """Child and parent go on with one handle, each through connections of its own."""
    registry = open_registry(server, server.place())
    registry.save("churn", "parent")

    numbers = together(lambda value: registry.save("churn", value).number, ["a", "b", "c"])

    assert sorted(numbers) == [2, 3, 4]
    assert registry.save("churn", "parent again").number == 5
    assert [v.load() for v in registry["churn"]][0::4] == ["parent", "parent again"]
