"""Spans sent at the doors -> what PromQL says that there were."""

import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from mirubato.alerts.intervals import Sampled, interval_of
from tests.spans.making import CLIENT, ERROR, NS, OK, SERVER, attributes, now_ns, span, traces
from tests.support.gateways import Running, running
from tests.support.requests import fresh, otlp_json

PROTOBUF, JSON = "application/x-protobuf", "application/json"
CALLS = "traces_span_metrics_calls_total"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(
        tmp_path_factory.mktemp("spans"),
        span_metrics_dimensions=("http.route", "deployment.environment.name"),
        span_metrics_max_sets=40,
        span_sampling_rates={"headed": 0.25},
    ) as one:
        yield one


def send(gateway: Running, request: ExportTraceServiceRequest) -> ExportTraceServiceResponse:
    url = gateway.url("otlp_http_port", "/v1/traces")
    reply = gateway.http.post(url, content=request.SerializeToString(), headers={"content-type": PROTOBUF})
    assert reply.status_code == 200, reply.text
    return ExportTraceServiceResponse.FromString(reply.content)


def counted(gateway: Running, selector: str, metric: str = CALLS) -> float:
    found = gateway.api("query", query=f"sum({metric}{selector})")["result"]
    return float(found[0]["value"][1]) if found else 0.0


def test_calls_and_durations(gateway: Running) -> None:
    service = fresh()
    spans = [span("GET /a", seconds=0.02) for _ in range(7)] + [
        span("GET /a", status=ERROR, seconds=3) for _ in range(2)
    ]
    assert not send(gateway, traces([*spans, span("call", CLIENT, OK)], service)).HasField("partial_success")
    found = gateway.api("query", query=f'{CALLS}{{service_name="{service}"}}')["result"]
    labels = ("span_name", "span_kind", "status_code")
    assert {tuple(one["metric"][name] for name in labels): one["value"][1] for one in found} == {
        ("GET /a", "SPAN_KIND_SERVER", "STATUS_CODE_UNSET"): "7",
        ("GET /a", "SPAN_KIND_SERVER", "STATUS_CODE_ERROR"): "2",
        ("call", "SPAN_KIND_CLIENT", "STATUS_CODE_OK"): "1",
    }
    duration = "traces_span_metrics_duration_seconds"
    server = f'service_name="{service}",span_kind="SPAN_KIND_SERVER"'
    assert counted(gateway, f'{{{server},le="0.025"}}', f"{duration}_bucket") == 7
    assert counted(gateway, f'{{{server},le="+Inf"}}', f"{duration}_bucket") == 9
    assert counted(gateway, f"{{{server}}}", f"{duration}_sum") == pytest.approx(6.14)


def test_counters_go_on_from_request_to_request(gateway: Running) -> None:
    service = fresh()
    for total in (1, 2, 3):
        send(gateway, traces([span()], service))
        assert counted(gateway, f'{{service_name="{service}"}}') == total


def test_a_burst_shows_in_increase(gateway: Running) -> None:
    service = fresh()
    send(gateway, traces([span() for _ in range(60)], service))
    found = gateway.api("query", query=f'sum(increase({CALLS}{{service_name="{service}"}}[5m]))')["result"]
    assert float(found[0]["value"][1]) == pytest.approx(60, rel=0.15)


def test_mixed_weights_against_a_known_truth(gateway: Running) -> None:
    """Errors always kept, successes at 1 in 10 and 1 in 4, each by another source; the truth is in the interval."""
    rng, service = random.Random(7), fresh()
    truth = {"failed": 400, "sampler": 6000, "tracestate": 5000}
    kept = [span(status=ERROR, weight=1) for _ in range(truth["failed"])]
    kept += [span(weight=10) for _ in range(truth["sampler"]) if rng.random() < 0.1]
    quarter = {"state": "vendor=x,ot=rv:ab;th:c"}
    kept += [span(**quarter) for _ in range(truth["tracestate"]) if rng.random() < 0.25]  # type: ignore[arg-type]
    kept += [span(weight=0) for _ in range(300)]  # only there to explain errors
    send(gateway, traces(kept, service))
    own, failed = f'service_name="{service}"', 'status_code="STATUS_CODE_ERROR"'
    total, total_failed = counted(gateway, f"{{{own}}}"), counted(gateway, f"{{{own},{failed}}}")
    squares = "traces_span_metrics_weights_squared_total"
    square, square_failed = counted(gateway, f"{{{own}}}", squares), counted(gateway, f"{{{own},{failed}}}", squares)
    assert total_failed == 400
    assert total == pytest.approx(sum(truth.values()), rel=0.06)
    weights = Sampled(total, square_failed / total_failed, (square - square_failed) / (total - total_failed))
    low, high = interval_of(total_failed / total, weights)
    assert low < 400 / sum(truth.values()) < high
    assert high - low < 0.006
    sources = gateway.api("query", query=f"traces_span_metrics_spans_total{{{own}}}")["result"]
    by_source = {one["metric"]["weight_source"]: int(one["value"][1]) for one in sources}
    assert sum(by_source.values()) == len(kept)
    assert by_source.keys() == {"sampler", "tracestate"}


def test_a_configured_rate_is_asked_last(gateway: Running) -> None:
    send(gateway, traces([span(), span(), span(weight=3), span(state="ot=th:8")], "headed"))
    assert counted(gateway, '{service_name="headed"}') == 4 + 4 + 3 + 2
    query = 'traces_span_metrics_spans_total{service_name="headed"}'
    found = gateway.api("query", query=query)["result"]
    assert {one["metric"]["weight_source"]: one["value"][1] for one in found} == {
        "head_sampling_rate": "2",
        "sampler": "1",
        "tracestate": "1",
    }


@pytest.mark.parametrize("weight", ["NaN", "-1", "many", "1e300"])
def test_a_weight_that_is_none_counts_as_not_given(gateway: Running, weight: str) -> None:
    service = fresh()
    send(gateway, traces([span(mirubato_weight=weight)], service))
    assert counted(gateway, f'{{service_name="{service}"}}') == 1


def test_a_batch_that_comes_again_is_counted_once(gateway: Running) -> None:
    service, some = fresh(), [span() for _ in range(5)]
    for spans in (some, some, [*some, span()], [some[0], some[0]]):
        assert not send(gateway, traces(spans, service)).HasField("partial_success")
    assert counted(gateway, f'{{service_name="{service}"}}') == 6


def test_late_spans_count_when_they_come_and_too_late_ones_are_rejected(gateway: Running) -> None:
    service, hour = fresh(), 3600 * NS
    late, old, ahead = (span(ended_ns=now_ns() + hours * hour) for hours in (-20, -24 * 8, 1))
    partial = send(gateway, traces([late, old, ahead], service)).partial_success
    assert partial.rejected_spans == 2
    assert "MIRUBATO_RETENTION_RAW" in partial.error_message
    assert "MIRUBATO_FUTURE_MAX" in partial.error_message
    assert counted(gateway, f'{{service_name="{service}"}}') == 1


@pytest.mark.parametrize(
    "broken", [{"trace_id": b""}, {"span_id": bytes(8)}, {"trace_id": bytes(16)}, {"span_id": b"1"}]
)
def test_spans_without_an_identity_are_rejected_and_their_neighbours_are_not(
    gateway: Running, broken: dict[str, bytes]
) -> None:
    service, bad = fresh(), span()
    for field, value in broken.items():
        setattr(bad, field, value)
    partial = send(gateway, traces([span(), bad, span()], service)).partial_success
    assert (partial.rejected_spans, counted(gateway, f'{{service_name="{service}"}}')) == (1, 2)


def test_past_the_limit_names_are_one_series_and_nothing_is_lost(gateway: Running) -> None:
    service = fresh()
    spans = [span(f"GET /user/{number}", status=ERROR if number % 10 == 0 else OK) for number in range(300)]
    send(gateway, traces(spans, service))
    assert counted(gateway, f'{{service_name="{service}"}}') == 300
    assert counted(gateway, f'{{service_name="{service}",status_code="STATUS_CODE_ERROR"}}') == 30
    assert counted(gateway, f'{{service_name="{service}",span_name="overflow"}}') == 260
    names = gateway.api("query", query=f'count(count by (span_name) ({CALLS}{{service_name="{service}"}}))')["result"]
    assert names[0]["value"][1] == "41"


def test_chosen_attributes_are_labels_of_span_or_resource(gateway: Running) -> None:
    service = fresh()
    resource = {"deployment.environment.name": "staging"}
    spans = [span(http_route="/a/{id}"), span(http_route="/b"), span()]
    send(gateway, traces(spans, service, **resource))
    found = gateway.api("query", query=f'{CALLS}{{service_name="{service}"}}')["result"]
    assert {one["metric"].get("http_route", "") for one in found} == {"/a/{id}", "/b", ""}
    assert {one["metric"]["deployment_environment_name"] for one in found} == {"staging"}


def test_server_errors_without_a_status_are_errors(gateway: Running) -> None:
    service = fresh()
    spans = [span("a") for _ in range(3)]
    for one, code in zip(spans, (503, 404, 499), strict=True):
        one.attributes.extend(attributes({"http.response.status_code": code}))
    send(gateway, traces(spans, service))
    assert counted(gateway, f'{{service_name="{service}",status_code="STATUS_CODE_ERROR"}}') == 1
    assert counted(gateway, f'{{service_name="{service}",status_code="STATUS_CODE_UNSET"}}') == 2


def test_exemplars_lead_to_the_slowest_span(gateway: Running) -> None:
    service = fresh()
    slow = span("a", seconds=2.0)
    send(gateway, traces([span("a"), slow, span("a")], service))
    window = {"start": now_ns() / NS - 60, "end": now_ns() / NS + 60}
    query = f'traces_span_metrics_duration_seconds_bucket{{service_name="{service}"}}'
    (found,) = gateway.api("query_exemplars", query=query, **window)
    assert found["exemplars"][0]["labels"] == {"trace_id": slow.trace_id.hex(), "span_id": slow.span_id.hex()}
    assert found["seriesLabels"]["le"] == "2.5"


def _as_json(request: ExportTraceServiceRequest) -> tuple[bytes, str]:
    return otlp_json(request), JSON


def _as_protobuf(request: ExportTraceServiceRequest) -> tuple[bytes, str]:
    return request.SerializeToString(), PROTOBUF


@pytest.mark.parametrize("encode", [_as_json, _as_protobuf])
def test_large_requests_in_both_encodings(
    gateway: Running, encode: Callable[[ExportTraceServiceRequest], tuple[bytes, str]]
) -> None:
    service = fresh()
    body, kind = encode(traces([span(f"n{number % 5}", weight=2.5) for number in range(600)], service))
    url = gateway.url("web_port", "/v1/traces")
    reply = gateway.http.post(url, content=body, headers={"content-type": kind})
    assert reply.status_code == 200
    assert counted(gateway, f'{{service_name="{service}"}}') == 1500


def test_the_gateway_tells_of_what_it_counted(gateway: Running) -> None:
    send(gateway, traces([one := span(), one], fresh()))
    text = gateway.get("/metrics").text
    assert 'mirubato_spans_counted_total{weight_source="none"}' in text
    duplicates = next(line for line in text.splitlines() if line.startswith("mirubato_spans_duplicates_total"))
    assert float(duplicates.split()[1]) >= 1


def test_counters_go_on_after_a_restart(tmp_path: Path) -> None:
    for total in (3, 6):
        with running(tmp_path) as gateway:
            send(gateway, traces([span(weight=1), span(weight=2)]))
            assert counted(gateway, "", CALLS) == total


def test_other_bounds_after_a_restart_are_a_reset_of_the_histogram(tmp_path: Path) -> None:
    for bounds in ((0.05, 0.5), (0.05, 0.1, 0.5)):  # 0.1 was never counted, so the rest would not fit it
        with running(tmp_path, span_metrics_buckets=bounds) as gateway:
            send(gateway, traces([span(seconds=0.01)]))
            assert counted(gateway, '{le="0.5"}', "traces_span_metrics_duration_seconds_bucket") == 1
            assert counted(gateway, "", "traces_span_metrics_duration_seconds_count") == 1


def test_a_name_of_megabytes_and_a_thousand_attributes(gateway: Running) -> None:
    service = fresh()
    hostile = span("x" * 500_000)
    hostile.attributes.extend(attributes({f"a{number}": "v" for number in range(3000)}))
    huge = span("y" * (2 << 20))
    partial = send(gateway, traces([hostile, huge, span()], service)).partial_success
    assert partial.rejected_spans == 1
    found = gateway.api("query", query=f'{CALLS}{{service_name="{service}"}}')["result"]
    assert sorted(len(one["metric"]["span_name"]) for one in found) == [5, 256]


def test_a_span_of_unknown_kind_and_status(gateway: Running) -> None:
    service, odd = fresh(), span()
    odd.kind, odd.status.code = 77, 9  # type: ignore[assignment]
    send(gateway, traces([odd], service))
    selector = f'{{service_name="{service}",span_kind="SPAN_KIND_UNSPECIFIED",status_code="STATUS_CODE_UNSET"}}'
    assert counted(gateway, selector) == 1


def test_kinds_are_those_of_otlp() -> None:
    assert (SERVER, CLIENT) == (2, 3) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)


def test_the_interval_in_the_docs(gateway: Running) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "TRACES.md").read_text(encoding="utf-8")
    expression = page.partition("```promql\n")[2].partition("```")[0].partition("\n")[2]
    service = fresh()
    spans = [span(status=ERROR, weight=1) for _ in range(30)] + [span(weight=10) for _ in range(80)]
    send(gateway, traces(spans, service))
    odds, spread = math.log(30 / 800), 1.96 * math.sqrt((8000 - 800) / 800**2)
    for query, bound in ((expression, odds - spread), (expression.replace("- 1.96", "+ 1.96"), odds + spread)):
        found = gateway.api("query", query=query)["result"]
        (value,) = [one["value"][1] for one in found if one["metric"]["service_name"] == service]
        assert float(value) == pytest.approx(1 / (1 + math.exp(-bound)), rel=0.05)
