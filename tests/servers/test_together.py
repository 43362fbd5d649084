"""Promoters, followers, feeds and copies on every server, several processes at once."""

import time

import numpy as np
import pytest
from processes import together

from modelversion.errors import StageMovedError
from modelversion.storage import open_store

PROMOTERS = 8
PATIENCE_SECONDS = 60


def model_on(server, url, open_registry, versions):
    """A model of so many versions, the first of which is in production."""
    registry = open_registry(server, url, actor="ana@team")
    for i in range(versions):
        registry.save("churn", {"w": [i]}, metrics={"auc": 0.9 + i / 1000}, new=True)
    registry["churn"][1].promote("production", reason="first")
    return registry


def wait_until(condition):
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def test_of_eight_promoters_one_wins_and_the_others_are_told(place, many, open_registry):
    """With `if_current` one of 8 processes lands; each other learns who did, and why."""
    url = place.place()
    registry = model_on(place, url, open_registry, PROMOTERS + 1)

    def promote(number):
        churn = open_registry(place, url, actor=f"p{number}")["churn"]
        try:
            churn[number].promote("production", if_current=1, reason=f"try {number}")
        except StageMovedError as e:
            return number, e.current, str(e)
        return number, None, ""

    found = many(promote, range(2, PROMOTERS + 2))

    (winner,) = [number for number, current, _ in found if current is None]
    for _, current, said in found:
        if current is not None:
            assert current == winner
            assert f"p{winner}" in said
            assert f"try {winner}" in said
    again = open_registry(place, url)
    assert again["churn"].stages["production"] == [winner]
    assert [decision.number for decision in registry["churn"].history("production")] == [1, winner]
    assert again.verify()


def test_a_follower_swaps_when_another_process_promotes(server, open_registry):
    """`follow` serves the new version soon after, and the object is the promoted one."""
    url = server.place()
    registry = model_on(server, url, open_registry, 2)
    live = registry["churn"].follow("production", every=0.2)
    try:
        assert live.get()[1].number == 1

        def promote(number):
            version = open_registry(server, url)["churn"][number]
            return version.promote("production", reason="better").number

        assert together(promote, [2]) == [2]

        wait_until(lambda: live.get()[1].number == 2)
        assert live.get()[0] == {"w": [1]}
    finally:
        live.close()


def test_the_feed_tells_each_event_of_other_processes_once(server, open_registry):
    """Four processes write; what two cursors in turn have read is every event, none twice."""
    url = server.place()
    registry = model_on(server, url, open_registry, 1)
    seen = [e.to_dict() for e in registry.events()]
    cursor = registry.events().cursor

    def write(number):
        mine = open_registry(server, url, actor=f"w{number}")
        mine.save("churn", {"w": [number]}, new=True)
        mine["churn"][1].tag({f"by{number}": True})

    together(write, range(4))
    fresh = open_registry(server, url)
    first = fresh.events(since=cursor, limit=3)
    second = open_registry(server, url).events(since=first.cursor)

    told = [e.to_dict() for e in (*first, *second)]
    kinds = sorted(event["kind"] for event in told)
    assert kinds == ["version.committed"] * 4 + ["version.tagged"] * 4
    everything = [e.to_dict() for e in fresh.events()]
    assert len(everything) == len(seen) + 8
    assert len(fresh.events(since=second.cursor)) == 0


def test_versions_are_copied_there_and_back_with_their_digests(server, open_registry, tmp_path):
    """From a folder to the server and to another folder: the same bytes, tags and parents."""
    local = open_local(tmp_path / "local")
    for i in range(3):
        weights = np.arange(2**18 + i, dtype="float64")
        local.save("churn", {"w": weights}, tags={"i": i}, artifacts={"a.txt": f"text {i}"})
    remote = open_registry(server, server.place())

    there = local.copy(local["churn"], to=remote)
    again = local.copy(local["churn"], to=remote)
    back = remote.copy(there, to=open_local(tmp_path / "back"))

    assert [v.number for v in again] == [v.number for v in there] == [1, 2, 3]
    originals = list(local["churn"])
    for copies in (there, back):
        assert [v.digest for v in copies] == [v.digest for v in originals]
        assert [dict(v.tags) for v in copies] == [{"i": i} for i in range(3)]
    assert (back[2].load()["w"] == np.arange(2**18 + 2, dtype="float64")).all()
    assert remote.verify()


def open_local(folder):
    import modelversion as mv

    return mv.Registry(folder)


def test_two_copiers_of_one_model_make_one_copy(server, open_registry, tmp_path):
    """Processes that push the same versions at once leave each of them there once."""
    local = open_local(tmp_path / "local")
    for i in range(3):
        local.save("churn", i and [i])
    url = server.place()
    open_registry(server, url).save("other", [0])

    def push(_):
        mine = open_local(tmp_path / "local")
        return len(mine.copy(mine["churn"], to=open_registry(server, url)))

    assert together(push, range(4)) == [3] * 4

    remote = open_registry(server, url)
    assert sorted(v.digest for v in remote["churn"]) == sorted(v.digest for v in local["churn"])
    assert remote.verify()


# ---- the read cache


def test_a_second_process_fetches_no_file_again(server, proxied, open_registry, tmp_path):
    """What one process has read, another loads from this machine's disk."""
    url, proxy = server.place(), proxied(server)
    weights = np.random.default_rng(0).random(2**18)
    open_registry(server, url).save("churn", {"w": weights})

    def load(_):
        registry = open_registry(server, url, port=proxy.port, cache=tmp_path / "cache")
        return float(registry.load("churn")["w"].sum())

    first = proxy.bytes_down
    assert together(load, [1]) == [float(weights.sum())]
    second = proxy.bytes_down
    assert together(load, [2, 3]) == [float(weights.sum())] * 2
    third = proxy.bytes_down

    assert second - first > weights.nbytes
    assert third - second < weights.nbytes / 10


# ---- through a folder of the server


@pytest.mark.xdist_group("moto")
def test_a_folder_filesystem_over_a_bucket_is_the_bucket(servers):
    """`dir::` is looked through: the keys are those of the bucket, and so is the adapter."""
    import fsspec

    server = servers("moto")
    fs = fsspec.filesystem(server.scheme, skip_instance_cache=True, **server.options())
    name = server.place().rsplit("/", 1)[-1]
    inside = fsspec.filesystem("dir", path=f"{server.root}/{name}", fs=fs)

    class Place:
        """What a UPath shows of itself."""

        def __init__(self):
            self.fs, self.path = inside, "models"

    store = open_store(Place())
    store.put_new("a/b", b"1")

    direct = open_store(f"s3://{server.root}/{name}/models", storage_options=server.options())
    assert type(store) is type(direct)
    assert direct.read("a/b") == b"1"
