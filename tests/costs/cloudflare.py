"""A double of Cloudflare's GraphQL analytics: the documented nodes as a real schema, with pages, limits and failures.

Fields and dimensions are those of developers.cloudflare.com (workers, d1, kv, r2, queues, durable objects); a query
that asks for anything else is refused as the real API refuses it: status 200 and `errors`.
"""

import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from graphql import GraphQLSchema, build_schema, graphql_sync

# node -> (aggregates with their fields, dimensions)
NODES: Mapping[str, tuple[Mapping[str, str], str]] = {
    "workersInvocationsAdaptive": (
        {"sum": "requests errors subrequests cpuTimeUs", "quantiles": "cpuTimeP50 cpuTimeP99"},
        "scriptName status datetime datetimeHour date",
    ),
    "d1AnalyticsAdaptiveGroups": (
        {"sum": "rowsRead rowsWritten readQueries writeQueries queryBatchResponseBytes"},
        "databaseId date datetimeHour",
    ),
    "d1StorageAdaptiveGroups": ({"max": "databaseSizeBytes"}, "databaseId date datetimeHour"),
    "kvOperationsAdaptiveGroups": ({"sum": "requests"}, "namespaceId actionType date datetimeHour"),
    "kvStorageAdaptiveGroups": ({"max": "keyCount byteCount"}, "namespaceId date datetimeHour"),
    "r2OperationsAdaptiveGroups": ({"sum": "requests"}, "bucketName actionType date datetimeHour"),
    "r2StorageAdaptiveGroups": ({"max": "payloadSize metadataSize objectCount"}, "bucketName date datetimeHour"),
    "queueMessageOperationsAdaptiveGroups": (
        {"sum": "billableOperations bytes"},
        "queueId actionType date datetimeHour",
    ),
    "durableObjectsInvocationsAdaptiveGroups": ({"sum": "requests"}, "scriptName date datetimeHour"),
    "durableObjectsPeriodicGroups": ({"sum": "cpuTime duration"}, "date datetimeHour"),
    "durableObjectsStorageGroups": ({"max": "storedBytes"}, "date datetimeHour"),
}


_FILTERS = " ".join(f"{name}_{how}: String" for name in ("date", "datetime") for how in ("geq", "lt", "leq"))


def _schema() -> GraphQLSchema:
    parts = [
        "type Query { viewer: Viewer! }",
        "type Viewer { accounts(filter: AccountFilter!): [Account!]! }",
        "input AccountFilter { accountTag: String! }",
        "type Limits { enabled: Boolean maxDuration: Int maxPageSize: Int notOlderThan: Int maxNumberOfFields: Int }",
        f"type Settings {{ {' '.join(f'{node}: Limits' for node in NODES)} }}",
        f"input Stretch {{ {_FILTERS} }}",
    ]
    fields = ["settings: Settings!"]
    for node, (aggregates, dimensions) in NODES.items():
        orders = " ".join(f"{name}_{way}" for name in dimensions.split() for way in ("ASC", "DESC"))
        parts.append(f"enum {node}Order {{ {orders} }}")
        parts.append(f"type {node}Dimensions {{ {' '.join(f'{name}: String' for name in dimensions.split())} }}")
        groups = []
        for group, names in aggregates.items():
            parts.append(f"type {node}{group} {{ {' '.join(f'{name}: Float' for name in names.split())} }}")
            groups.append(f"{group}: {node}{group}")
        parts.append(f"type {node}Row {{ dimensions: {node}Dimensions {' '.join(groups)} }}")
        fields.append(f"{node}(limit: Int!, filter: Stretch!, orderBy: [{node}Order!]): [{node}Row!]!")
    return build_schema("\n".join([*parts, f"type Account {{ {' '.join(fields)} }}"]))


SCHEMA = _schema()


@dataclass
class Cloudflare:
    """What the account has used, and how the API behaves; `rows` are (time in ms, dimensions, aggregates) by node."""

    rows: dict[str, list[tuple[int, dict[str, str], dict[str, dict[str, float]]]]] = field(default_factory=dict)
    token: str = "analytics-read"
    account: str = "a" * 32
    page_rows: int = 10_000
    failures: deque[tuple[int, dict[str, str]]] = field(default_factory=deque)
    """Status and headers of the next answers, instead of what they would be."""
    broken: dict[str, str] = field(default_factory=dict)
    """Node -> the error that it answers."""
    disabled: set[str] = field(default_factory=set)
    queries: list[str] = field(default_factory=list)
    pages: int = 0
    url: str = ""

    def use(
        self, node: str, at: int, dimensions: dict[str, str] | None = None, group: str = "sum", **amounts: float
    ) -> None:
        """One row of usage."""
        self.rows.setdefault(node, []).append((at, dimensions or {}, {group: amounts}))

    def answer(self, authorization: str, body: bytes) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON."""
        if self.failures:
            status, headers = self.failures.popleft()
            return status, headers, {"errors": [{"message": "no"}]}
        if authorization != f"Bearer {self.token}":
            errors = [{"message": "not authorized for that account", "extensions": {"code": "authz"}}]
            return 200, {}, {"data": None, "errors": errors}
        query = json.loads(body)["query"]
        self.queries.append(query)
        result = graphql_sync(SCHEMA, query, {"viewer": {"accounts": self._accounts}})
        document: dict[str, Any] = {"data": result.data, "errors": None}
        if result.errors:
            document["errors"] = [{"message": one.message} for one in result.errors]
        return 200, {}, document

    def _accounts(self, _info: Any, filter: dict[str, str]) -> list[Any]:  # noqa: A002
        assert filter["accountTag"] == self.account
        return [{"settings": self._settings(), **{node: self._node(node) for node in NODES}}]

    def _settings(self) -> dict[str, Any]:
        return {
            node: {
                "enabled": node not in self.disabled,
                "maxDuration": 31 * 86_400,
                "maxPageSize": self.page_rows,
                "notOlderThan": 31 * 86_400,
                "maxNumberOfFields": 30,
            }
            for node in NODES
        }

    def _node(self, node: str) -> Any:
        def resolve(_info: Any, limit: int, filter: dict[str, str], orderBy: Any = None) -> list[Any]:  # noqa: A002, N803
            if node in self.broken:
                raise ValueError(self.broken[node])
            if limit > self.page_rows:
                raise ValueError(f"limit must be at most {self.page_rows}")
            self.pages += 1
            found = [self._row(row) for row in self.rows.get(node, ()) if _inside(row[0], filter)]
            return sorted(found, key=lambda row: str(row["dimensions"]["datetimeHour"]))[:limit]

        return resolve

    @staticmethod
    def _row(row: tuple[int, dict[str, str], dict[str, dict[str, float]]]) -> dict[str, Any]:
        moment = datetime.fromtimestamp(row[0] / 1000, UTC)
        times = {"date": f"{moment:%Y-%m-%d}", "datetimeHour": f"{moment:%Y-%m-%dT%H:00:00Z}"}
        return {"dimensions": times | row[1], **row[2]}


def _inside(at: int, wanted: Mapping[str, str]) -> bool:
    moment = datetime.fromtimestamp(at / 1000, UTC)
    for condition, text in wanted.items():
        name, _, operator = condition.rpartition("_")
        own = f"{moment:%Y-%m-%d}" if name == "date" else f"{moment:%Y-%m-%dT%H:%M:%SZ}"
        if not {"geq": own >= text, "lt": own < text, "leq": own <= text}[operator]:
            return False
    return True


@contextmanager
def serving(double: Cloudflare) -> Iterator[Cloudflare]:
    """The double at a free port; `double.url` is its base address."""

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status, headers, document = double.answer(self.headers.get("authorization", ""), body)
            content = json.dumps(document).encode()
            self.send_response(status)
            for name, value in {"content-length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    double.url = f"http://127.0.0.1:{server.server_address[1]}/client/v4"
    try:
        yield double
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
