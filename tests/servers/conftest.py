"""One real server of each kind, started when the first test of a process needs it."""

import contextlib

import pytest
from processes import threads_together, together
from proxy import Proxy
from running import SERVERLESS, STARTERS

import modelversion as mv

OBJECT_STORES = ("moto", "radosgw", "fake-gcs", "azurite")


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """Give a server by its name; it is stopped when the tests end."""
    running = {}
    with contextlib.ExitStack() as stack:

        def start(name):
            if name not in running:
                starter = (STARTERS | SERVERLESS)[name](tmp_path_factory.mktemp(name))
                running[name] = stack.enter_context(starter)
            return running[name]

        yield start


def _each(names):
    return [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]


@pytest.fixture(params=_each(STARTERS))
def server(request, servers):
    """A server of every kind."""
    return servers(request.param)


@pytest.fixture(params=_each(STARTERS | SERVERLESS))
def place(request, servers):
    """A server of every kind, a folder, and memory."""
    return servers(request.param)


@pytest.fixture
def many(place):
    """Run work many times at once: in processes, or in threads where they cannot share it."""
    return threads_together if place.name == "memory" else together


@pytest.fixture(params=_each(OBJECT_STORES))
def bucket(request, servers):
    """A server of every kind that keeps objects."""
    return servers(request.param)


@pytest.fixture(params=_each(["moto", "radosgw", "azurite"]))
def telling_bucket(request, servers):
    """A server whose driver tells a missing bucket from a missing key."""
    return servers(request.param)


@pytest.fixture(params=_each(["openssh"]))
def sftp(request, servers):
    """The OpenSSH server."""
    return servers(request.param)


@pytest.fixture
def proxied():
    """Give a proxy that stands before a server."""
    with contextlib.ExitStack() as stack:
        yield lambda server: stack.enter_context(Proxy(server.port))


@pytest.fixture(autouse=True)
def environment_of_drivers(monkeypatch):
    """Drivers find no credentials of this machine."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)


def opened(server, url, *, port=None, **more):
    """Open a registry on a server."""
    options = server.options(port)
    return mv.Registry(url, storage_options=options, **{"allow_pickle": True, **more})


@pytest.fixture
def open_registry():
    """What opens a registry on a server."""
    return opened
