"""An HTTP endpoint that refuses as a service does, where its emulator checks no credentials.

moto takes every key and fake-gcs-server every token, so what S3 and GCS answer to a stranger, or to
one who may only read, is said here in their words: the bodies are those of their documentation.
"""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import attrs

_S3 = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    "<Error><Code>{code}</Code><Message>{words}</Message><RequestId>1</RequestId></Error>"
)


@attrs.frozen
class Answer:
    """A status and a body, with its type."""

    status: int
    body: bytes
    kind: str


def s3(status, code, words):
    """What S3 answers: an error in XML."""
    return Answer(status, _S3.format(code=code, words=words).encode(), "application/xml")


def gcs(status, words, reason):
    """What the JSON API of Google answers."""
    error = {"message": words, "domain": "global", "reason": reason}
    body = {"error": {"code": status, "message": words, "errors": [error]}}
    return Answer(status, json.dumps(body).encode(), "application/json")


ABSENT = {
    "s3": s3(404, "NoSuchKey", "The specified key does not exist."),
    "gs": gcs(404, "No such object: models/churn", "notFound"),
}
STRANGER = {
    "s3": s3(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist."),
    # The driver holds this for a token that has just run out, and asks again and again.
    "gs": gcs(401, "Invalid Credentials", "authError"),
}
READER = {
    "s3": s3(403, "AccessDenied", "Access Denied"),
    "gs": gcs(403, "ana@example.org does not have storage.objects.create access", "forbidden"),
}


@contextlib.contextmanager
def refusing(reads, writes):
    """Answer each request alike, and give the port.

    Args:
        reads: The answer to GET and HEAD.
        writes: The answer to all others.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            given = reads if self.command in ("GET", "HEAD") else writes
            self.send_response(given.status)
            self.send_header("Content-Type", given.kind)
            self.send_header("Content-Length", str(len(given.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(given.body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

        def log_message(self, *args):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
