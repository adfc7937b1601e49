"""Cloudflare's own export, as JSON and as protobuf -> the metrics that Cloudflare does not export."""

from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from tests.spans.making import DATA, worker_json, worker_protobuf
from tests.support.gateways import Running, running

JSON, PROTOBUF = ("application/json", worker_json), ("application/x-protobuf", worker_protobuf)
Encoding = tuple[str, Callable[[str], bytes]]

EXPECTED = {
    'cloudflare_worker_requests_total{script_name="checkout",outcome="ok",trigger="http"}': 1,
    'cloudflare_worker_requests_total{script_name="checkout"}': 3,
    'cloudflare_worker_requests_total{script_name="order-consumer",outcome="exceededCpu",trigger="queue"}': 1,
    'cloudflare_worker_errors_total{script_name="checkout",outcome="exception"}': 1,
    'cloudflare_worker_errors_total{script_name="checkout"}': 1,
    'cloudflare_worker_errors_total{script_name="order-consumer"}': 1,
    'cloudflare_worker_cpu_time_seconds_count{script_name="checkout"}': 3,
    'cloudflare_worker_cpu_time_seconds_sum{script_name="checkout"}': 0.017,
    'cloudflare_worker_cpu_time_seconds_bucket{script_name="checkout",le="0.005"}': 2,
    'cloudflare_worker_cpu_time_seconds_sum{script_name="order-consumer"}': 30,
    'cloudflare_worker_duration_seconds_sum{script_name="checkout"}': 0.187,
    'cloudflare_worker_duration_seconds_count{script_name="order-consumer"}': 1,
    'cloudflare_d1_queries_total{script_name="checkout",binding="DB"}': 2,
    'cloudflare_d1_rows_read_total{script_name="checkout",binding="DB"}': 123,
    'cloudflare_d1_rows_written_total{script_name="checkout",binding="DB"}': 2,
    'cloudflare_kv_operations_total{script_name="checkout",operation="get",binding="CACHE"}': 3,
    'cloudflare_kv_operations_total{script_name="checkout",operation="put"}': 1,
    'cloudflare_r2_operations_total{script_name="checkout",operation="get",bucket="receipts"}': 1,
    'cloudflare_queue_messages_total{script_name="checkout",operation="send",queue="orders"}': 1,
    'cloudflare_queue_messages_total{script_name="order-consumer",operation="consume",queue="orders"}': 25,
    'cloudflare_durable_object_rows_read_total{script_name="order-consumer"}': 7,
    'traces_span_metrics_calls_total{service_name="checkout",span_kind="SPAN_KIND_SERVER"}': 3,
    'traces_span_metrics_calls_total{span_name="fetch",status_code="STATUS_CODE_ERROR"}': 1,
    'traces_span_metrics_calls_total{span_name="queue",status_code="STATUS_CODE_ERROR"}': 1,
}


def post(gateway: Running, path: str, body: bytes, kind: str) -> None:
    reply = gateway.http.post(gateway.url("otlp_http_port", path), content=body, headers={"content-type": kind})
    assert (reply.status_code, reply.content) in ((200, b""), (200, b"{}"))


def value(gateway: Running, selector: str) -> float:
    found = gateway.api("query", query=f"sum({selector})")["result"]
    return float(found[0]["value"][1]) if found else 0.0


@pytest.fixture(scope="module", params=[JSON, PROTOBUF], ids=["json", "protobuf"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    kind, body = request.param
    directory = tmp_path_factory.mktemp("workers")
    with running(directory, log_number_fields=("duration_ms", "usage.tokens")) as one:
        post(one, "/v1/traces", body("worker_traces.json"), kind)
        post(one, "/v1/logs", body("worker_logs.json"), kind)
        yield one


@pytest.mark.parametrize(("selector", "expected"), EXPECTED.items())
def test_what_a_worker_did(gateway: Running, selector: str, expected: float) -> None:
    assert value(gateway, selector) == pytest.approx(expected)


LOGS = {
    'logs_records_total{service_name="checkout"}': 5,
    'logs_records_total{severity="INFO"}': 2,
    'logs_records_total{severity="ERROR"}': 3,
    'logs_records_total{exception_type="PaymentError"}': 1,
    'logs_records_total{exception_type="TypeError",severity="ERROR"}': 1,
    'logs_field_sum{field="duration_ms"}': 52.5,
    'logs_field_count{field="duration_ms"}': 2,
    'logs_field_sum{field="usage.tokens"}': 1200,
}


@pytest.mark.parametrize(("selector", "expected"), LOGS.items())
def test_what_a_worker_logged(gateway: Running, selector: str, expected: float) -> None:
    assert value(gateway, selector) == pytest.approx(expected)


def test_its_traces_and_error_logs_are_kept(gateway: Running) -> None:
    found = gateway.get("/api/traces", service="checkout", status="error").json()["traces"]
    assert [one["trace_id"] for one in found] == ["5b8efff798038103d269b633813fc602"]


@pytest.mark.parametrize("headers", [{}, {"content-type": "application/json"}, {"content-type": "text/plain"}])
@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
def test_the_preflight_of_a_destination(gateway: Running, path: str, headers: dict[str, str]) -> None:
    assert gateway.http.post(gateway.url("otlp_http_port", path), headers=headers).status_code == 200


def test_colo_is_a_label_if_it_is_chosen_and_head_sampling_is_undone(tmp_path: Path) -> None:
    settings = {"span_metrics_dimensions": ("cloudflare.colo",), "span_sampling_rates": {"checkout": 0.05}}
    with running(tmp_path, **settings) as gateway:
        post(gateway, "/v1/traces", worker_json("worker_traces.json"), "application/json")
        assert value(gateway, 'cloudflare_worker_requests_total{script_name="checkout",cloudflare_colo="FRA"}') == 60
        assert value(gateway, 'cloudflare_worker_requests_total{script_name="order-consumer"}') == 1
        squares = 'cloudflare_worker_requests_weights_squared_total{script_name="checkout"}'
        assert value(gateway, squares) == 3 * 400
        assert value(gateway, 'cloudflare_d1_rows_read_total{script_name="checkout"}') == 123 * 20


def test_everything_may_stand_in_the_spans_instead_of_the_resource(tmp_path: Path) -> None:
    document = orjson.loads(worker_json("worker_traces.json"))
    for resource in document["resourceSpans"]:
        shared = resource.pop("resource")["attributes"]
        for span in resource["scopeSpans"][0]["spans"]:
            span["attributes"] += shared
        resource["scopeSpans"][0].pop("scope")
    with running(tmp_path) as gateway:
        post(gateway, "/v1/traces", orjson.dumps(document), "application/json")
        for selector, expected in EXPECTED.items():
            assert value(gateway, selector) == pytest.approx(expected), selector


def test_the_data_is_ascii_and_has_the_documented_attributes() -> None:
    text = (DATA / "worker_traces.json").read_text(encoding="ascii")
    for name in ("cloudflare.cpu_time_ms", '"cpu_time_ms"', "cloudflare.d1.response.rows_read", "cloudflare.colo"):
        assert name in text
