"""A closed loop of requests over several connections: one in flight on each, all in one thread.

The sender costs 0.05-0.3 of a core, so that a machine with two cores still measures the server.
"""

import selectors
import socket
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from bench.errors import BenchError
from bench.loads import Queues, Request

STALL_S = 60.0  # no reply for so long ends the measurement
READ_BYTES = 65_536
BUFFERS_PER_WRITE = 64


class Reply(NamedTuple):
    """A server's answer to one request; `detail` is what it said beyond plain success."""

    accepted: bool
    detail: str = ""


@dataclass
class Outcome:
    """What became of the requests; latencies in seconds, `began` and `ended` by `time.perf_counter`."""

    began: float
    ended: float = 0.0
    latencies: list[float] = field(default_factory=list)
    points: int = 0
    failed: int = 0
    partial: int = 0
    problem: str = ""

    @property
    def wall(self) -> float:
        """Seconds from the first request to the last reply."""
        return self.ended - self.began

    def add(self, reply: Reply, points: int, latency: float) -> None:
        """Count one answered request."""
        self.latencies.append(latency)
        self.problem = self.problem or reply.detail
        if not reply.accepted:
            self.failed += 1
            return
        self.points += points
        self.partial += bool(reply.detail)

    def percentile(self, share: float) -> float:
        """A latency in milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3 if ordered else 0.0


class Connection(ABC):
    """One connection and the requests that go over it; a protocol fills in `begin` and `feed`."""

    def __init__(self, port: int, queue: list[Request]) -> None:
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.queue = deque(queue)
        self.current = Request(b"", 0)
        self.outgoing: deque[memoryview] = deque()
        self.began = 0.0
        self.greet()
        self.socket.setblocking(False)

    def greet(self) -> None:
        """What a protocol says before the first request; the socket still blocks."""
        return

    @abstractmethod
    def begin(self, request: Request) -> None:
        """Put the request's bytes into `outgoing`."""

    @abstractmethod
    def feed(self, data: bytes) -> Reply | None:
        """Take received bytes; the reply once it is complete."""

    def refill(self) -> None:
        """Called when `outgoing` has been written: a protocol with flow control adds what it may send."""
        return

    def next(self) -> bool:
        """Begin the next request; False when there is none."""
        if not self.queue:
            return False
        self.current = self.queue.popleft()
        self.began = time.perf_counter()
        self.begin(self.current)
        return True

    def flush(self) -> None:
        """Write what the socket takes."""
        try:
            self.refill()
            while self.outgoing:
                self._written(self.socket.sendmsg(islice(self.outgoing, BUFFERS_PER_WRITE)))
                self.refill()
        except BlockingIOError:
            return

    def _written(self, count: int) -> None:
        while self.outgoing and count >= len(self.outgoing[0]):
            count -= len(self.outgoing.popleft())
        if count:
            self.outgoing[0] = self.outgoing[0][count:]

    def receive(self) -> Reply | None:
        """Read once and feed it."""
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return None
        if not data:
            raise BenchError("the server closed the connection before it replied")
        return self.feed(data)


Connect = Callable[[int, list[Request]], Connection]


class _Loop:
    """Drives the connections until every queue is empty."""

    def __init__(self, connections: list[Connection]) -> None:
        self.connections = connections
        self.selector = selectors.DefaultSelector()
        self.masks: dict[Connection, int] = {}
        self.outcome = Outcome(began=time.perf_counter())

    def run(self) -> Outcome:
        for connection in self.connections:
            connection.next()
            self._pump(connection)
        while self.masks:
            events = self.selector.select(STALL_S)
            if not events:
                raise BenchError(f"no reply within {STALL_S:g} s")
            for key, mask in events:
                self._serve(key.data, mask)
        self.outcome.ended = time.perf_counter()
        return self.outcome

    def _serve(self, connection: Connection, mask: int) -> None:
        reply = connection.receive() if mask & selectors.EVENT_READ else None
        if reply is not None:
            self.outcome.add(reply, connection.current.points, time.perf_counter() - connection.began)
            if not connection.next():
                self._watch(connection, 0)
                return
        self._pump(connection)

    def _pump(self, connection: Connection) -> None:
        connection.flush()
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.outgoing else 0)
        self._watch(connection, wanted)

    def _watch(self, connection: Connection, mask: int) -> None:
        known = self.masks.get(connection, 0)
        if mask == known:
            return
        if not known:
            self.selector.register(connection.socket, mask, connection)
        elif mask:
            self.selector.modify(connection.socket, mask, connection)
        else:
            self.selector.unregister(connection.socket)
        self.masks[connection] = mask
        if not mask:
            del self.masks[connection]

    def close(self) -> None:
        self.selector.close()
        for connection in self.connections:
            connection.socket.close()


def send(connect: Connect, port: int, queues: Queues) -> Outcome:
    """Send all queues to 127.0.0.1:`port`, each over its own connection, and wait for the last reply.

    Raises BenchError when the server closes a connection or stops answering.
    """
    loop = _Loop([connect(port, queue) for queue in queues])
    try:
        return loop.run()
    except OSError as error:
        raise BenchError(f"the connection to port {port} broke: {error}") from error
    finally:
        loop.close()
