"""The built-in metrics of rules: from which family each service is answered, and how sure that is."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirubato.alerts.builtins import BUILT_INS, Scope, meaning
from mirubato.alerts.checking import check_expression
from mirubato.alerts.intervals import Interval, Sampled, interval_of
from mirubato.errors import BadField
from tests.alerts.worlds import MINUTE_MS, asked, values, world

AT = 10 * MINUTE_MS
HTTP = "http_server_request_duration_seconds"
SPANS = "traces_span_metrics_calls_total"
SQUARED = "traces_span_metrics_weights_squared_total"
SERVER = 'span_kind="SPAN_KIND_SERVER"'


def http(service: str, good: str, bad: str) -> dict[str, str]:
    """Requests of a service that answers 200 and 500."""
    return {
        f'{HTTP}_count{{service_name="{service}",http_response_status_code="200"}}': good,
        f'{HTTP}_count{{service_name="{service}",http_response_status_code="500",error_type="500"}}': bad,
    }


def spans(service: str, good: str, bad: str, squared_good: str, squared_bad: str) -> dict[str, str]:
    """Weighted spans of a service."""
    labels = f'service_name="{service}",{SERVER},status_code='
    return {
        f'{SPANS}{{{labels}"STATUS_CODE_UNSET"}}': good,
        f'{SPANS}{{{labels}"STATUS_CODE_ERROR"}}': bad,
        f'{SQUARED}{{{labels}"STATUS_CODE_UNSET"}}': squared_good,
        f'{SQUARED}{{{labels}"STATUS_CODE_ERROR"}}': squared_bad,
    }


def test_a_failure_is_a_5xx_or_an_error_type_and_counts_once() -> None:
    labels = f'{HTTP}_count{{service_name="a",'
    scratch = world(
        {
            f'{labels}http_response_status_code="200"}}': "0+70x10",
            f'{labels}http_response_status_code="404"}}': "0+10x10",
            f'{labels}http_response_status_code="503",error_type="503"}}': "0+10x10",
            f'{labels}error_type="ConnectionError"}}': "0+10x10",
        }
    )
    assert values(scratch, AT, "error_rate") == {"a": 0.2}
    assert values(scratch, AT, "success_rate") == {"a": 0.8}


def test_a_service_without_failures_has_a_rate_of_0_and_one_without_requests_has_none() -> None:
    scratch = world(
        {
            f'{HTTP}_count{{service_name="good",http_response_status_code="200"}}': "0+10x10",
            f'{HTTP}_count{{service_name="idle",http_response_status_code="200"}}': "5x10",
        }
    )
    assert values(scratch, AT, "error_rate") == {"good": 0.0}


def test_each_service_is_answered_by_the_first_family_that_has_data() -> None:
    scratch = world(
        {
            **http("api", "0+90x10", "0+10x10"),
            # The same requests as spans, and of other services nothing but those.
            **spans("api", "0+50x10", "0+50x10", "0+50x10", "0+50x10"),
            **spans("worker", "0+75x10", "0+25x10", "0+75x10", "0+25x10"),
            'http_server_duration_milliseconds_count{service_name="old",http_status_code="200"}': "0+60x10",
            'http_server_duration_milliseconds_count{service_name="old",http_status_code="500"}': "0+40x10",
            'cloudflare_worker_requests_total{script_name="edge"}': "0+100x10",
            'cloudflare_worker_errors_total{script_name="edge"}': "0+2x10",
            'cloudflare_worker_requests_total{service_name="worker",script_name="worker-prod"}': "0+100x10",
        }
    )
    assert values(scratch, AT, "error_rate") == {"api": 0.1, "worker": 0.25, "old": 0.4, "edge": 0.02}


def test_exponential_histograms_count_too() -> None:
    shape = "{{schema:0 sum:5 count:10 buckets:[5 5]}}"
    scratch = world(
        {
            f'{HTTP}{{service_name="n",http_response_status_code="200"}}': f"{shape}+{shape}x10",
            f'{HTTP}{{service_name="n",http_response_status_code="500"}}': f"{shape}+{shape}x10",
        }
    )
    assert values(scratch, AT, "error_rate") == {"n": 0.5}
    assert 1000 < values(scratch, AT, "response_time_p95")["n"] <= 2000


def test_spans_of_other_kinds_are_no_requests() -> None:
    scratch = world(
        {
            f'{SPANS}{{service_name="a",span_kind="SPAN_KIND_CLIENT",status_code="STATUS_CODE_ERROR"}}': "0+10x10",
            f'{SPANS}{{service_name="a",{SERVER},status_code="STATUS_CODE_UNSET"}}': "0+10x10",
        }
    )
    assert values(scratch, AT, "error_rate") == {"a": 0.0}


def test_the_p95_is_in_milliseconds_whatever_the_family_counts_in() -> None:
    scratch = world(
        {
            f'{HTTP}_bucket{{service_name="a",le="0.1"}}': "0+90x10",
            f'{HTTP}_bucket{{service_name="a",le="0.2"}}': "0+100x10",
            f'{HTTP}_bucket{{service_name="a",le="+Inf"}}': "0+100x10",
            'http_server_duration_milliseconds_bucket{service_name="b",le="100"}': "0+90x10",
            'http_server_duration_milliseconds_bucket{service_name="b",le="200"}': "0+100x10",
            'http_server_duration_milliseconds_bucket{service_name="b",le="+Inf"}': "0+100x10",
            f'{HTTP}_bucket{{service_name="idle",le="0.1"}}': "7x10",
            f'{HTTP}_bucket{{service_name="idle",le="+Inf"}}': "7x10",
        }
    )
    assert values(scratch, AT, "response_time_p95") == {"a": 150.0, "b": 150.0}


def test_the_queue_depth_is_that_of_the_fullest_queue_on_average() -> None:
    scratch = world(
        {
            'queue_depth{service_name="a",queue="x"}': "10x10",
            'queue_depth{service_name="a",queue="y"}': "0+10x10",
            'rabbitmq_queue_messages{service_name="b"}': "7x10",
        }
    )
    assert values(scratch, AT, "queue_depth", window_minutes=3) == {"a": 90.0, "b": 7.0}


def test_costs_are_the_newest_value() -> None:
    scratch = world({"mirubato_cost_today_usd": "0+1x10", "mirubato_budget_hours_left": "100-1x10"})
    assert values(scratch, AT, "cost_today") == {"": 10.0}
    assert values(scratch, AT, "budget_hours_left") == {"": 90.0}


def test_any_metric_is_its_average_and_a_counter_its_increase() -> None:
    scratch = world({'temperature{service_name="a"}': "0+1x10", 'orders_total{service_name="a"}': "0+3x10"})
    assert values(scratch, AT, "temperature", window_minutes=3) == {"a": 9.0}
    assert values(scratch, AT, "orders_total", window_minutes=3) == {"a": 9.0}
    assert values(scratch, AT, 'orders_total{service_name="b"}') == {}


def test_a_filter_narrows_every_family() -> None:
    scratch = world({**http("api", "0+90x10", "0+10x10"), **http("web", "0+80x10", "0+20x10")})
    assert values(scratch, AT, "error_rate", filter={"service_name": "web"}) == {"web": 0.2}
    assert values(scratch, AT, "error_rate", filter={"service_name": "web", "http_route": "/x"}) == {}


@pytest.mark.parametrize("metric", ["rate(up[5m])", "up offset 5m", "", "a b", "up > 5", "1"])
def test_what_is_no_metric_is_refused(metric: str) -> None:
    with pytest.raises(BadField) as refused:
        meaning(metric, Scope(MINUTE_MS))
    assert refused.value.field == "metric"


def test_a_metric_may_have_the_name_that_opentelemetry_gave_it() -> None:
    assert meaning("http.server.duration", Scope(MINUTE_MS)).query == 'avg_over_time({"http.server.duration"}[1m])'


@pytest.mark.parametrize("name", BUILT_INS)
def test_every_built_in_is_promql(name: str) -> None:
    for scope in (Scope(MINUTE_MS), Scope(90_061_000, {"service_name": 'a"b', "x": "y"})):
        asks = meaning(name, scope)
        check_expression(asks.query)
        if asks.sampling:
            check_expression(asks.sampling)


# --- sampling ---------------------------------------------------------------------------------------------------------


def test_one_error_and_no_sampled_success_does_not_page() -> None:
    """At 1 in 10, up to 35 successes may have passed unseen; an hour ago some were kept, which tells the rate."""
    at = 60 * MINUTE_MS
    scratch = world(
        spans("quiet", "0+100x5 500x55", "0x58 0 1 1", "0+1000x5 5000x55", "0x58 0 1 1"),
    )
    (one,) = asked(scratch, at, {"metric": "error_rate"}).values()
    assert one.value == 1.0
    assert one.interval is not None
    assert one.interval.low < 0.05
    assert not one.active
    (one,) = asked(scratch, at, {"metric": "error_rate", "use_interval": False}).values()
    assert one.active


def test_many_errors_page_whatever_was_sampled() -> None:
    scratch = world(spans("down", "0+100x5 500x55", "0x55 0+500x5", "0+1000x5 5000x55", "0x55 0+500x5"))
    (one,) = asked(scratch, 60 * MINUTE_MS, {"metric": "error_rate"}).values()
    assert one.active


def test_both_sides_of_a_success_rate_are_swapped() -> None:
    scratch = world(spans("s", "0+90x10", "0+10x10", "0+900x10", "0+10x10"))
    body = {"metric": "success_rate", "condition": "less_than", "threshold": 0.95}
    (success,) = asked(scratch, AT, body).values()
    (failure,) = asked(scratch, AT, {"metric": "error_rate"}).values()
    assert success.interval is not None
    assert failure.interval is not None
    assert math.isclose(success.interval.low, 1 - failure.interval.high)
    assert success.active


@pytest.mark.parametrize(
    "series",
    [
        http("exact", "0+94x10", "0+6x10"),
        spans("all kept", "0+94x10", "0+6x10", "0+94x10", "0+6x10"),
        # Sampled spans beside exact counts: the exact ones are what counts.
        http("both", "0+94x10", "0+6x10") | spans("both", "0+90x10", "0+10x10", "0+900x10", "0+10x10"),
    ],
)
def test_what_is_not_sampled_is_taken_at_its_word(series: dict[str, str]) -> None:
    (one,) = asked(world(series), AT, {"metric": "error_rate"}).values()
    assert math.isclose(one.value, 0.06)
    assert one.active


@settings(deadline=None)
@given(
    share=st.floats(0, 1),
    total=st.floats(0.1, 1e9),
    inside=st.floats(1, 1000),
    outside=st.floats(1, 1000),
)
def test_an_interval_holds_its_share(share: float, total: float, inside: float, outside: float) -> None:
    low, high = interval_of(share, Sampled(total, inside, outside))
    assert 0 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1


def test_an_interval_narrows_with_more_events_and_is_a_point_without_sampling() -> None:
    few, many = (interval_of(0.1, Sampled(total, 1, 10)) for total in (100, 10_000))
    assert few.low < many.low < 0.1 < many.high < few.high
    assert interval_of(0.1, Sampled(20)) == Interval(0.1, 0.1)
    assert interval_of(math.nan, Sampled(20, 2, 2)) == pytest.approx((math.nan, math.nan), nan_ok=True)


@pytest.mark.parametrize(("requests", "failing", "kept"), [(2_000, 0.05, 0.1), (300, 0.2, 0.1), (5_000, 0.01, 0.02)])
def test_an_interval_holds_the_real_share_as_often_as_it_says(requests: int, failing: float, kept: float) -> None:
    """Errors are all kept, successes at a rate; 95 of 100 times, give or take what 400 runs can tell."""
    chance = random.Random(7)
    failed = round(requests * failing)
    held = 0
    for _ in range(400):
        successes = sum(chance.random() < kept for _ in range(requests - failed)) / kept
        total = failed + successes
        low, high = interval_of(failed / total, Sampled(total, 1, 1 / kept))
        held += low <= failing <= high
    assert 0.92 <= held / 400 <= 0.98
