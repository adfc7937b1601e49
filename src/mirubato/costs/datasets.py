"""Cloudflare's GraphQL datasets of usage, as they are documented: fields, dimensions, and the meters they tell of.

Sources: developers.cloudflare.com, analytics/graphql-api/tutorials/querying-workers-metrics, d1, kv and r2
.../metrics-analytics, queues/observability/metrics, durable-objects/observability/metrics-and-analytics.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mirubato.costs.prices import Meter
from mirubato.costs.usage import Source, Usage

# Classes of R2's operations (developers.cloudflare.com/r2/pricing); what is in neither costs nothing.
_CLASS_A = (
    "ListBuckets PutBucket ListObjects PutObject CopyObject CompleteMultipartUpload CreateMultipartUpload"
    " LifecycleStorageTierTransition ListMultipartUploads UploadPart UploadPartCopy ListParts PutBucketEncryption"
    " PutBucketCors PutBucketLifecycleConfiguration"
)
_CLASS_B = (
    "HeadBucket HeadObject GetObject UsageSummary GetBucketEncryption GetBucketLocation GetBucketCors"
    " GetBucketLifecycleConfiguration"
)
R2_CLASS_A, R2_CLASS_B = frozenset(_CLASS_A.split()), frozenset(_CLASS_B.split())
KV_METERS = {"read": "reads", "write": "writes", "delete": "deletes", "list": "lists"}

_GB = 1_000_000_000
# R2's definition, taken for all: 1 GB for 30 days is one GB-month.
_DAYS_OF_MONTH = 30

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Dataset:
    """One node below `viewer.accounts`: `by_day` has the dimension `date`, any other `datetimeHour`."""

    node: str
    fields: str
    dimensions: Sequence[str]
    meters: Sequence[Meter]
    read: Callable[[int, Row], Iterator[Usage]]
    by_day: bool = False

    @property
    def time_dimension(self) -> str:
        """The dimension that says when."""
        return "date" if self.by_day else "datetimeHour"

    def selection(self) -> str:
        """The fields as they stand in a query."""
        return f"{self.fields} dimensions {{ {' '.join((self.time_dimension, *self.dimensions))} }}"


def _number(row: Row, group: str, name: str) -> float:
    """A field; 0 where it is null."""
    return float((row.get(group) or {}).get(name) or 0)


def _usage(hour: int, meter: Meter, quantity: float, script: str = "", label: str = "") -> Usage:
    return Usage(hour, meter, quantity, Source.GRAPHQL, script[:128], label[:160])


def _dimension(row: Row, name: str) -> str:
    return str(row["dimensions"].get(name) or "")


def _label(row: Row, dimension: str, name: str) -> str:
    value = _dimension(row, dimension)
    return f"{name}={value}" if value else ""


def _workers(hour: int, row: Row) -> Iterator[Usage]:
    script = _dimension(row, "scriptName")
    yield _usage(hour, Meter("workers", "requests"), _number(row, "sum", "requests"), script)
    yield _usage(hour, Meter("workers", "cpu_ms"), _number(row, "sum", "cpuTimeUs") / 1000, script)


def _d1(hour: int, row: Row) -> Iterator[Usage]:
    label = _label(row, "databaseId", "database")
    yield _usage(hour, Meter("d1", "rows_read"), _number(row, "sum", "rowsRead"), label=label)
    yield _usage(hour, Meter("d1", "rows_written"), _number(row, "sum", "rowsWritten"), label=label)


def _d1_storage(hour: int, row: Row) -> Iterator[Usage]:
    size = _number(row, "max", "databaseSizeBytes")
    yield _usage(hour, Meter("d1", "storage"), size / _GB / _DAYS_OF_MONTH, label=_label(row, "databaseId", "database"))


def _kv(hour: int, row: Row) -> Iterator[Usage]:
    name = KV_METERS.get(_dimension(row, "actionType").lower())
    if name:
        label = _label(row, "namespaceId", "namespace")
        yield _usage(hour, Meter("kv", name), _number(row, "sum", "requests"), label=label)


def _kv_storage(hour: int, row: Row) -> Iterator[Usage]:
    size = _number(row, "max", "byteCount")
    label = _label(row, "namespaceId", "namespace")
    yield _usage(hour, Meter("kv", "storage"), size / _GB / _DAYS_OF_MONTH, label=label)


def _r2(hour: int, row: Row) -> Iterator[Usage]:
    action = _dimension(row, "actionType")
    name = "class_a" if action in R2_CLASS_A else "class_b" if action in R2_CLASS_B else ""
    if name:
        label = _label(row, "bucketName", "bucket")
        yield _usage(hour, Meter("r2", name), _number(row, "sum", "requests"), label=label)


def _r2_storage(hour: int, row: Row) -> Iterator[Usage]:
    size = _number(row, "max", "payloadSize") + _number(row, "max", "metadataSize")
    label = _label(row, "bucketName", "bucket")
    yield _usage(hour, Meter("r2", "storage"), size / _GB / _DAYS_OF_MONTH, label=label)


def _queues(hour: int, row: Row) -> Iterator[Usage]:
    label = _label(row, "queueId", "queue")
    yield _usage(hour, Meter("queues", "operations"), _number(row, "sum", "billableOperations"), label=label)


def _durable_objects(hour: int, row: Row) -> Iterator[Usage]:
    script = _dimension(row, "scriptName")
    yield _usage(hour, Meter("durable_objects", "requests"), _number(row, "sum", "requests"), script)


def _durable_object_duration(hour: int, row: Row) -> Iterator[Usage]:
    yield _usage(hour, Meter("durable_objects", "duration"), _number(row, "sum", "duration"))


def _durable_object_storage(hour: int, row: Row) -> Iterator[Usage]:
    size = _number(row, "max", "storedBytes")
    yield _usage(hour, Meter("durable_objects", "storage"), size / _GB / _DAYS_OF_MONTH)


def _meters(product: str, *names: str) -> Sequence[Meter]:
    return [Meter(product, name) for name in names]


DATASETS: Sequence[Dataset] = (
    Dataset(
        "workersInvocationsAdaptive",
        "sum { requests cpuTimeUs }",
        ("scriptName",),
        _meters("workers", "requests", "cpu_ms"),
        _workers,
    ),
    Dataset(
        "d1AnalyticsAdaptiveGroups",
        "sum { rowsRead rowsWritten }",
        ("databaseId",),
        _meters("d1", "rows_read", "rows_written"),
        _d1,
    ),
    Dataset(
        "d1StorageAdaptiveGroups",
        "max { databaseSizeBytes }",
        ("databaseId",),
        _meters("d1", "storage"),
        _d1_storage,
        by_day=True,
    ),
    Dataset(
        "kvOperationsAdaptiveGroups",
        "sum { requests }",
        ("namespaceId", "actionType"),
        _meters("kv", *KV_METERS.values()),
        _kv,
    ),
    Dataset(
        "kvStorageAdaptiveGroups",
        "max { keyCount byteCount }",
        ("namespaceId",),
        _meters("kv", "storage"),
        _kv_storage,
        by_day=True,
    ),
    Dataset(
        "r2OperationsAdaptiveGroups",
        "sum { requests }",
        ("bucketName", "actionType"),
        _meters("r2", "class_a", "class_b"),
        _r2,
    ),
    Dataset(
        "r2StorageAdaptiveGroups",
        "max { payloadSize metadataSize objectCount }",
        ("bucketName",),
        _meters("r2", "storage"),
        _r2_storage,
        by_day=True,
    ),
    Dataset(
        "queueMessageOperationsAdaptiveGroups",
        "sum { billableOperations bytes }",
        ("queueId", "actionType"),
        _meters("queues", "operations"),
        _queues,
    ),
    Dataset(
        "durableObjectsInvocationsAdaptiveGroups",
        "sum { requests }",
        ("scriptName",),
        _meters("durable_objects", "requests"),
        _durable_objects,
    ),
    Dataset(
        "durableObjectsPeriodicGroups",
        "sum { duration }",
        (),
        _meters("durable_objects", "duration"),
        _durable_object_duration,
    ),
    Dataset(
        "durableObjectsStorageGroups",
        "max { storedBytes }",
        (),
        _meters("durable_objects", "storage"),
        _durable_object_storage,
        by_day=True,
    ),
)

DATASET_OF: Mapping[Meter, str] = {meter: dataset.node for dataset in DATASETS for meter in dataset.meters}
