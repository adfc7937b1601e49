"""What the spans of Cloudflare's own export say: invocations of Workers, and the use of D1, KV, R2 and Queues.

Source: developers.cloudflare.com/workers/observability/traces/spans-and-attributes. Attributes may stand in the
resource or in the span, and some are seen with and without their prefix.
"""

from collections import ChainMap
from dataclasses import dataclass, field

from mirubato.spans.attributes import Attributes, first_number, first_text

MARK = b"cloudflare"
"""What the bytes of a span hold if its own attributes tell of Cloudflare."""

_SCOPE = "workers-observability"
# Outcomes that are no error of the Worker: the client hung up, or nothing is known (workerd's EventOutcome).
_NO_ERROR = frozenset(("", "ok", "success", "canceled", "cancelled", "unknown", "clientDisconnected",
                       "responseStreamDisconnected"))  # fmt: skip
_CPU = ("cloudflare.cpu_time_ms", "cpu_time_ms", "cloudflare.cpu_time", "cpu_time")
_WALL = ("cloudflare.wall_time_ms", "wall_time_ms", "cloudflare.wall_time", "wall_time")
_OUTCOME = ("cloudflare.outcome", "outcome")
_ROWS = {
    "d1": ("cloudflare.d1.response.rows_read", "cloudflare.d1.response.rows_written"),
    "durable_object": ("cloudflare.durable_object.response.rows_read",
                       "cloudflare.durable_object.response.rows_written"),
    "durable_object_sql": ("cloudflare.durable_object.sql.response.rows_read",
                           "cloudflare.durable_object.sql.response.rows_written"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Invocation:
    """One run of a Worker: its root span."""

    trigger: str
    """`http`, `cron`, `queue`, `email`, ..."""
    outcome: str
    failed: bool
    cpu_s: float | None
    wall_s: float | None


@dataclass(frozen=True, slots=True)
class Use:
    """Something that a Worker used: how often or how much, under which labels."""

    table: str
    labels: tuple[str, ...]
    amounts: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class WorkerSpan:
    """What one span of a Worker counts for."""

    script: str
    invocation: Invocation | None
    uses: list[Use] = field(default_factory=list)


def is_export(attributes: Attributes, scope: str) -> bool:
    """Whether a resource or scope is of Cloudflare's own export."""
    return (
        scope == _SCOPE
        or first_text(attributes, "telemetry.sdk.name", "cloud.provider") == "cloudflare"
        or first_text(attributes, "cloud.platform") == "cloudflare.workers"
        or "cloudflare.script_name" in attributes
    )


def script_of(attributes: Attributes) -> str:
    """The name of the Worker; "" if there is none."""
    return first_text(attributes, "cloudflare.script_name", "faas.name", "service.name")


def failed(outcome: str) -> bool:
    """Whether an outcome is an error of the Worker."""
    return outcome not in _NO_ERROR


def outcome_of(own: Attributes) -> str:
    """How an invocation ended, as its root span says; "" for other spans."""
    return first_text(own, *_OUTCOME)


def read_worker(name: str, own: Attributes, shared: Attributes) -> WorkerSpan:
    """What a span counts for, by its own attributes and those of its resource."""
    both = ChainMap(dict(own), dict(shared))
    script = script_of(both) or "unknown"
    cpu, wall, outcome = first_number(own, *_CPU), first_number(own, *_WALL), outcome_of(own)
    invocation = None
    if outcome or cpu is not None:
        trigger = first_text(own, "faas.trigger", "cloudflare.handler_type")
        invocation = Invocation(trigger, outcome or "ok", failed(outcome), _seconds(cpu), _seconds(wall))
    return WorkerSpan(script, invocation, _uses(name, own, is_root=invocation is not None))


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None or milliseconds < 0 else milliseconds / 1000


def _uses(name: str, own: Attributes, *, is_root: bool) -> list[Use]:
    binding = first_text(own, "cloudflare.binding.name")
    operation = first_text(own, "db.operation.name") or name.partition("_")[2]
    uses = [_rows(product, binding, own) for product, keys in _ROWS.items() if any(key in own for key in keys)]
    if name.startswith("kv_") or any(key.startswith("cloudflare.kv.") for key in own):
        keys = first_number(own, "cloudflare.kv.query.keys.count") or 1.0
        uses.append(Use("kv", (binding, operation.removeprefix("kv_")), (max(keys, 1.0),)))
    if name.startswith("r2_") or any(key.startswith("cloudflare.r2.") for key in own):
        done = first_text(own, "cloudflare.r2.operation") or operation
        uses.append(Use("r2", (first_text(own, "cloudflare.r2.bucket") or binding, done.removeprefix("r2_")), (1.0,)))
    queue = first_text(own, "cloudflare.queue.name", "cloudflare.queue")
    if queue or name.startswith("queue_"):
        size = first_number(own, "cloudflare.queue.batch_size", "cloudflare.queue.message_count")
        labels = (queue or binding, "consume" if is_root else "send")
        uses.append(Use("queue", labels, (1.0 if size is None else size,)))
    return [use for use in uses if min(use.amounts) >= 0]


def _rows(product: str, binding: str, own: Attributes) -> Use:
    read, written = (first_number(own, key) or 0.0 for key in _ROWS[product])
    return Use("d1" if product == "d1" else "durable_object", (binding,), (1.0, read, written))
