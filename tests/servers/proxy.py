"""A TCP proxy between a driver and its server: it counts, delays, cuts, and loses replies."""

import asyncio
import contextlib
import re
import threading

import attrs

_REQUEST = re.compile(rb"(GET|PUT|POST|HEAD|DELETE|PATCH) (\S+) HTTP/1\.[01]\r\n")
_CONTINUE = b"HTTP/1.1 100"


@attrs.define
class Rule:
    """What happens to the next requests that hold some text: so many, then no more."""

    text: bytes
    action: str
    times: int
    amount: int = 0

    def takes(self, request):
        if self.times and self.text in request:
            self.times -= 1
            return True
        return False


class Proxy:
    """Stands before a port; give the driver `proxy.port`.

    Actions: `lose` sends the request on and drops the reply; `refuse` drops the request; `hang`
    answers never; `cut` gives the first `amount` bytes of the reply.
    """

    def __init__(self, upstream):
        self.upstream = upstream
        self.delay_seconds = 0.0
        self._gathering = 0
        self.requests = []
        self.rules = []
        self.served = []
        self.bytes_up = 0
        self.bytes_down = 0
        self._cuts = {}
        self._stalled = False
        self.port = 0
        self._open = set()
        self._talks = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="proxy")

    def __enter__(self):
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *exception):
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def on(self, text, action, *, times=1, amount=0):
        """Do something to the next requests whose head or body holds a text."""
        self.rules.append(Rule(text.encode(), action, times, amount))

    def cut(self):
        """Close every connection now."""
        done = threading.Event()

        def close():
            for writer in list(self._open):
                writer.transport.abort()
            done.set()

        self._loop.call_soon_threadsafe(close)
        done.wait()

    def stall(self):
        """From now on no reply comes; connections are taken, and stay open."""
        self._stalled = True

    def gather(self, count):
        """Hold replies back until so many connections wait for theirs, or for ten seconds."""
        self._gathering = count

    @property
    def gathered(self):
        """Whether they came."""
        return not self._gathering

    async def _all_there(self):
        for _ in range(1000):
            if self.waiting >= self._gathering:
                self._gathering = 0
                return
            await asyncio.sleep(0.01)

    def cut_after(self, way, count):
        """Close every connection once so many more bytes went `up` or `down`."""
        self._cuts[way] = getattr(self, f"bytes_{way}") + count

    def _passed(self, way, count):
        now = getattr(self, f"bytes_{way}") + count
        setattr(self, f"bytes_{way}", now)
        if way in self._cuts and now > self._cuts[way]:
            del self._cuts[way]
            for writer in list(self._open):
                writer.transport.abort()

    @property
    def waiting(self):
        """How many connections have asked and have no answer yet."""
        return sum(talk.open for talk in self._talks)

    def fresh(self):
        """Forget what was counted, and give it."""
        counted, self.requests = self.requests, []
        return counted

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self):
        self._stopping = asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for writer in list(self._open):
            writer.transport.abort()
        waiting = asyncio.all_tasks() - {asyncio.current_task()}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _serve(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.CancelledError):
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
            self._open |= {writer, up_writer}
            talk = _Talk()
            self._talks.add(talk)
            tasks = [
                asyncio.create_task(self._up(talk, reader, up_writer)),
                asyncio.create_task(self._down(talk, up_reader, writer)),
            ]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                for one in (writer, up_writer):
                    one.transport.abort()
                self._open -= {writer, up_writer}
                self._talks.discard(talk)

    async def _up(self, talk, reader, out):
        while data := await reader.read(65536):
            self._passed("up", len(data))
            found = _REQUEST.match(data)
            if found:
                talk.begin()
                self.requests.append((found[1].decode(), found[2].decode()))
            talk.request += data
            if talk.action is None:
                rule = next((r for r in self.rules if r.takes(bytes(talk.request))), None)
                if rule is not None:
                    talk.action, talk.amount = rule.action, rule.amount
                    self.served.append((rule.action, rule.text.decode()))
            if talk.action == "refuse":
                return
            out.write(data)
            await out.drain()

    async def _down(self, talk, reader, out):
        while data := await reader.read(65536):
            self._passed("down", len(data))
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            if self._gathering:
                await self._all_there()
            if self._stalled:
                await asyncio.sleep(3600)
            talk.open = False
            if talk.action and not data.startswith(_CONTINUE):
                if talk.action == "hang":
                    await asyncio.sleep(3600)
                if talk.action == "cut":
                    out.write(data[: talk.amount])
                    await out.drain()
                return
            out.write(data)
            await out.drain()


class _Talk:
    def __init__(self):
        self.begin()

    def begin(self):
        self.request = bytearray()
        self.action = None
        self.amount = 0
        self.open = True
