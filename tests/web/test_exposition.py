"""The scrape, read back by the parsers of prometheus_client; the one for OpenMetrics is strict."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint, Metric
from prometheus_client import Metric as Family
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families as text_families

from mirubato.model.labels import format_value
from tests.support.doors import HTTP
from tests.support.gateways import Running
from tests.support.requests import (
    buckets,
    counter,
    exemplar,
    exponential,
    fresh,
    gauge,
    histogram,
    metrics,
    now_ms,
    number,
    powers,
    summary,
)

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
TRACE = "0123456789abcdef0123456789abcdef"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], str]


def send(gateway: Running, *some: Metric) -> None:
    reply = HTTP.export(gateway, "metrics", metrics(*some, resource={"service.name": "shop"}))
    assert (reply.code, reply.rejected) == (0, 0), reply.message


def scrape(gateway: Running, *match: str, accept: str = "", path: str = "") -> httpx.Response:
    reply = gateway.get(f"/api/prometheus{path}", {"accept": accept}, **{"match[]": match})
    assert reply.status_code == 200
    return reply


def families(gateway: Running, *match: str, accept: str = "") -> dict[str, Family]:
    text = scrape(gateway, *match, accept=accept).text
    parsed = list(openmetrics_families(text) if accept else text_families(text))
    assert len({(family.name, family.type) for family in parsed}) == len(parsed), "one group for each name"
    return {family.name: family for family in parsed}


def samples(parsed: Iterable[Family]) -> Samples:
    """(name, labels without job and service_name) -> value as the API writes it."""
    found: Samples = {}
    for family in parsed:
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if name not in ("job", "service_name")}
            if "le" in labels and sample.name.endswith("_bucket") and labels["le"] != "y":
                labels["le"] = format_value(float(labels["le"]))
            key = sample.name, tuple(sorted(labels.items()))
            assert key not in found
            found[key] = format_value(float(sample.value) + 0.0)  # one of the parsers makes 0 of -0
    return found


def seconds(timestamp: Any) -> float:
    """A float, or OpenMetrics' Timestamp."""
    return float(timestamp)


def openmetrics_families(text: str) -> Iterable[Family]:
    parse: Callable[[str], Iterable[Family]] = openmetrics_parser.text_string_to_metric_families
    return parse(text)


def lines(gateway: Running, match: str, accept: str = "") -> list[str]:
    """The scrape without timestamps and without the labels that all have."""
    text = scrape(gateway, match, accept=accept).text
    for common in ('job="shop",service_name="shop"', ",}", "{}"):
        text = text.replace(common, "}" if common == ",}" else "")
    return [line if line.startswith("#") else " ".join(line.split(" ")[:2]) for line in text.splitlines()]


BOTH = pytest.mark.parametrize("accept", ["", OPENMETRICS], ids=["text", "openmetrics"])


class TestKinds:
    def test_a_counter(self, gateway: Running) -> None:
        name = fresh()
        send(gateway, counter(name, number(3.0, route="/"), unit="By", help_='What came "in"\\\nand out'))
        assert lines(gateway, f"{name}_bytes_total") == [
            rf'# HELP {name}_bytes_total What came "in"\\\nand out',
            f"# TYPE {name}_bytes_total counter",
            f'{name}_bytes_total{{job="shop",route="/",service_name="shop"}} 3',
        ]
        assert lines(gateway, f"{name}_bytes_total", OPENMETRICS) == [
            rf"# HELP {name}_bytes What came \"in\"\\\nand out",
            f"# TYPE {name}_bytes counter",
            f"# UNIT {name}_bytes bytes",
            f'{name}_bytes_total{{job="shop",route="/",service_name="shop"}} 3',
            "# EOF",
        ]

    @BOTH
    def test_a_gauge(self, gateway: Running, accept: str) -> None:
        name = fresh()
        send(gateway, gauge(name, number(-1.5), unit="Cel", help_="How warm it is"))
        (family,) = families(gateway, f"{name}_celsius", accept=accept).values()
        assert (family.name, family.type, family.documentation) == (f"{name}_celsius", "gauge", "How warm it is")
        assert family.unit == ("celsius" if accept else "")
        assert samples([family]) == {(f"{name}_celsius", ()): "-1.5"}

    @BOTH
    def test_a_histogram(self, gateway: Running, accept: str) -> None:
        name = fresh()
        points = [buckets([1, 2, 3], [0.5, 10], 20.5, route=route) for route in ("/a", "/b")]
        send(gateway, histogram(name, *points, unit="s"))
        (family,) = families(gateway, f'{{__name__=~"{name}_.*"}}', accept=accept).values()
        assert (family.name, family.type) == (f"{name}_seconds", "histogram")
        assert [(sample.name[len(name) :], sample.labels.get("le"), sample.value) for sample in family.samples] == 2 * [
            ("_seconds_bucket", "0.5", 1.0),
            ("_seconds_bucket", "10.0" if accept else "10", 3.0),
            ("_seconds_bucket", "+Inf", 6.0),
            ("_seconds_count", None, 6.0),
            ("_seconds_sum", None, 20.5),
        ]

    @BOTH
    def test_a_native_histogram_as_a_classic_one(self, gateway: Running, accept: str) -> None:
        name = fresh()
        send(gateway, exponential(name, powers([1, 0, 2], zero=3, total=12.5)))
        (family,) = families(gateway, name, accept=accept).values()
        assert (family.name, family.type) == (name, "histogram")
        assert samples([family]) == {
            (f"{name}_bucket", (("le", "1e-128"),)): "3",
            (f"{name}_bucket", (("le", "2"),)): "4",
            (f"{name}_bucket", (("le", "4"),)): "4",
            (f"{name}_bucket", (("le", "8"),)): "6",
            (f"{name}_bucket", (("le", "+Inf"),)): "6",
            (f"{name}_count", ()): "6",
            (f"{name}_sum", ()): "12.5",
        }

    @pytest.mark.parametrize(
        ("point", "expected"),
        [
            (powers([0, 0, 3, 0, 4, 0, 0], negative=[0]), {"4": 0, "8": 3, "16": 3, "32": 7, "+Inf": 7}),
            (powers([], negative=[0, 2, 0]), {"-4": 0, "-2": 2, "+Inf": 2}),
            (powers([0, 0], negative=[0]), {"+Inf": 0}),
            (powers([0], zero=2), {"1e-128": 2, "+Inf": 2}),
        ],
    )
    def test_empty_buckets_at_the_ends_are_left_out(
        self, gateway: Running, point: ExponentialHistogramDataPoint, expected: dict[str, int]
    ) -> None:
        name = fresh()
        point.time_unix_nano = now_ms() * 1_000_000
        send(gateway, exponential(name, point))
        found = samples(families(gateway, name).values())
        buckets_ = {labels[0][1]: float(value) for (end, labels), value in found.items() if end.endswith("_bucket")}
        assert buckets_ == expected

    @BOTH
    def test_a_summary(self, gateway: Running, accept: str) -> None:
        name = fresh()
        send(gateway, summary(name, {0.5: 1.5, 0.99: math.nan, 1.0: 3.0}, 4, 7.0))
        (family,) = families(gateway, f'{{__name__=~"{name}.*"}}', accept=accept).values()
        assert (family.name, family.type) == (name, "summary")
        assert samples([family]) == {
            (name, (("quantile", "0.5"),)): "1.5",
            (name, (("quantile", "0.99"),)): "NaN",
            (name, (("quantile", "1.0" if accept else "1"),)): "3",
            (f"{name}_count", ()): "4",
            (f"{name}_sum", ()): "7",
        }

    @BOTH
    def test_target_info(self, gateway: Running, accept: str) -> None:
        name = fresh()
        resource = {"service.name": name, "service.instance.id": "one", "host.name": "here"}
        HTTP.export(gateway, "metrics", metrics(gauge(name, number(1.0)), resource=resource))
        (family,) = families(gateway, f'target_info{{job="{name}"}}', accept=accept).values()
        (sample,) = family.samples
        assert (family.type, family.documentation, sample.value) == ("gauge", "Target metadata", 1.0)
        assert sample.labels == {"job": name, "instance": "one", "host_name": "here"}


class TestTimesAndEnds:
    @BOTH
    def test_timestamps_are_those_of_the_samples(self, gateway: Running, accept: str) -> None:
        name, at = fresh(), now_ms() - 12_345
        send(gateway, gauge(name, number(1.0, at)))
        (family,) = families(gateway, name, accept=accept).values()
        assert seconds(family.samples[0].timestamp) == at / 1000

    @BOTH
    def test_only_the_newest_of_the_last_5_minutes(self, gateway: Running, accept: str) -> None:
        name, now = fresh(), now_ms()
        old = number(1.0, now - 301_000, age="old")
        send(gateway, gauge(name, number(2.0, now - 200_000), number(3.0, now), number(4.0, now - 100_000), old))
        assert samples(families(gateway, name, accept=accept).values()) == {(name, ()): "3"}

    @BOTH
    def test_series_that_ended_are_left_out(self, gateway: Running, accept: str) -> None:
        name, now = fresh(), now_ms()
        ended = number(None, now, zone="a")
        ended.flags = 1
        send(gateway, gauge(name, number(1.0, now - 1000, zone="a"), ended, number(2.0, now, zone="b")))
        assert samples(families(gateway, name, accept=accept).values()) == {(name, (("zone", "b"),)): "2"}

    @BOTH
    def test_buckets_of_yesterday_are_no_part_of_todays_point(self, gateway: Running, accept: str) -> None:
        """An app that was deployed with other buckets: the old ones would count less than those below them."""
        name, now = fresh(), now_ms()
        send(gateway, histogram(name, buckets([1, 1], [1.0], 1.5, now - 60_000)))
        send(gateway, histogram(name, buckets([5, 5, 5], [0.5, 2.0], 30.0, now)))
        found = families(gateway, f'{{__name__=~"{name}.*"}}', accept=accept)
        (family,) = found.values()
        bounds = [float(sample.labels["le"]) for sample in family.samples if "le" in sample.labels]
        assert bounds == [0.5, 2.0, math.inf]

    @BOTH
    def test_nothing(self, gateway: Running, accept: str) -> None:
        assert scrape(gateway, "nothing", accept=accept).text == ("# EOF\n" if accept else "")


class TestConflicts:
    """No name under two types, and no sample lost."""

    @BOTH
    def test_a_gauge_has_the_name_before_a_histogram(self, gateway: Running, accept: str) -> None:
        name = fresh()
        send(gateway, histogram(name, buckets([1, 2], [1.0], 3.5)), gauge(name, number(1.0, zone="a")))
        found = families(gateway, f'{{__name__=~"{name}.*"}}', accept=accept)
        assert found[name].type == "gauge"
        assert all(family.type in ("gauge", "unknown") for family in found.values())
        assert len(samples(found.values())) == 5

    @BOTH
    @pytest.mark.parametrize("first", ["gauge", "counter"])
    def test_a_gauge_beside_a_counter_of_its_name(self, gateway: Running, accept: str, first: str) -> None:
        """`requests` and `requests_total` are two names in text, and one family name in OpenMetrics."""
        name = fresh()
        some = [gauge(name, number(1.0)), counter(name, number(2.0))]
        send(gateway, *(some if first == "gauge" else reversed(some)))
        text = scrape(gateway, f'{{__name__=~"{name}.*"}}', accept=accept).text
        found = list(openmetrics_families(text) if accept else text_families(text))
        assert samples(found) == {(name, ()): "1", (f"{name}_total", ()): "2"}
        assert [family.type for family in found] == (["gauge", "unknown"] if accept else ["gauge", "counter"])

    @BOTH
    def test_where_the_very_name_is_shared_all_stand_with_the_gauge(self, gateway: Running, accept: str) -> None:
        name = fresh()
        send(gateway, counter(name, number(1.0)), gauge(f"{name}.total", number(-2.0, zone="a")))
        (family,) = families(gateway, f"{name}_total", accept=accept).values()
        assert family.type == "gauge"
        assert samples([family]) == {(f"{name}_total", ()): "1", (f"{name}_total", (("zone", "a"),)): "-2"}

    @BOTH
    def test_a_histogram_whose_count_is_a_gauge(self, gateway: Running, accept: str) -> None:
        name = fresh()
        send(gateway, gauge(f"{name}.count", number(7.0, zone="a")))
        send(gateway, histogram(name, buckets([1, 2], [1.0], 3.5)))
        assert samples(families(gateway, f'{{__name__=~"{name}.*"}}', accept=accept).values()) == {
            (f"{name}_count", (("zone", "a"),)): "7",
            (f"{name}_count", ()): "3",
            (f"{name}_sum", ()): "3.5",
            (f"{name}_bucket", (("le", "1"),)): "1",
            (f"{name}_bucket", (("le", "+Inf"),)): "3",
        }

    def test_a_histogram_whose_count_was_overwritten(self, gateway: Running) -> None:
        """A summary of its name and labels has written to the same series."""
        name, at = fresh(), now_ms()
        other = summary(name, {0.5: 1.0}, 4, 7.0)
        other.summary.data_points[0].time_unix_nano = at * 1_000_000
        send(gateway, histogram(name, buckets([1, 2], [1.0], 3.5, at)), other)
        found = families(gateway, f'{{__name__=~"{name}_.*"}}', accept=OPENMETRICS)
        assert {family.type for family in found.values()} == {"unknown"}
        assert samples(found.values()) == {
            (f"{name}_bucket", (("le", "1"),)): "1",
            (f"{name}_bucket", (("le", "+Inf"),)): "3",
            (f"{name}_count", ()): "4",
            (f"{name}_sum", ()): "7",
        }

    @BOTH
    def test_a_histogram_beside_a_summary(self, gateway: Running, accept: str) -> None:
        name = fresh()
        send(gateway, histogram(name, buckets([1, 2], [1.0], 3.5, zone="a")), summary(name, {0.5: 1.0}, 1, 1.0))
        found = samples(families(gateway, f'{{__name__=~"{name}.*"}}', accept=accept).values())
        assert found[name, (("quantile", "0.5"),)] == "1"
        assert found[f"{name}_bucket", (("le", "+Inf"), ("zone", "a"))] == "3"
        assert (f"{name}_count", (("zone", "a"),)) not in found, "the one case in which something is left out"

    @pytest.mark.parametrize(
        "metric",
        [
            counter("x", number(-1.0)),
            counter("x", number(math.nan)),
            histogram("x", buckets([1, 2], [-1.0], 3.0)),
            histogram("x", buckets([1, 2], [1.0], -3.0)),
            histogram("x", buckets([1, 2], [1.0], math.nan)),
            histogram("x", buckets([1, 2], [1.0], None)),
            exponential("x", powers([1], negative=[1])),
            exponential("x", powers([1], total=None)),
            summary("x", {}, 1, -1.0),
            summary("x", {0.5: -1.0}, 1, 1.0),
            summary("x", {50.0: 1.0}, 1, 1.0),
            histogram("x", buckets([1, 2], [1.0], 3.0, le="mine")),
        ],
        ids=lambda metric: str(metric.WhichOneof("data")),
    )
    def test_what_openmetrics_forbids_stands_untyped(self, gateway: Running, metric: Metric) -> None:
        name = fresh()
        named = Metric()
        named.CopyFrom(metric)
        named.name = name
        for point in getattr(named, str(named.WhichOneof("data"))).data_points:
            point.time_unix_nano = now_ms() * 1_000_000
        send(gateway, named)
        match = f'{{__name__=~"{name}.*"}}'
        strict, lax = families(gateway, match, accept=OPENMETRICS), families(gateway, match)
        assert {family.type for family in strict.values()} == {"unknown"}
        assert samples(strict.values()) == samples(lax.values())


class TestEscapes:
    @given(st.text(min_size=1), st.text())
    @settings(max_examples=40, deadline=None)
    @pytest.mark.parametrize("openmetrics", [False, True])
    def test_labels_and_help(self, gateway: Running, openmetrics: bool, value: str, help_: str) -> None:
        name = fresh()
        send(gateway, gauge(name, number(1.0, x=value), help_=help_))
        (family,) = families(gateway, name, accept=OPENMETRICS if openmetrics else "").values()
        assert family.samples[0].labels["x"] == value
        if openmetrics:
            assert family.documentation.strip() == help_.strip()

    def test_values(self, gateway: Running) -> None:
        name = fresh()
        some = [math.nan, math.inf, -math.inf, 0.0, 1e21, 5e-324, 1e-7, 2.0**53, 0.1]
        send(gateway, gauge(name, *(number(value, which=str(index)) for index, value in enumerate(some))))
        for accept in ("", OPENMETRICS):
            found = samples(families(gateway, name, accept=accept).values())
            assert [found[name, (("which", str(index)),)] for index in range(len(some))] == list(
                map(format_value, some)
            )


class TestExemplars:
    def test_on_counters_and_buckets_in_openmetrics_only(self, gateway: Running) -> None:
        name, at = fresh(), now_ms() - 1000
        counted, measured = number(3.0), buckets([1, 2, 0], [1.0, 2.0], 3.5)
        shown = number(1.0)
        counted.exemplars.append(exemplar(2.0, TRACE, at, user="x"))
        measured.exemplars.extend([exemplar(0.5, TRACE, at), exemplar(1.5, TRACE[::-1], at)])
        shown.exemplars.append(exemplar(1.0, TRACE, at))
        send(gateway, counter(name, counted), histogram(f"{name}.h", measured), gauge(f"{name}.g", shown))
        match = f'{{__name__=~"{name}.*"}}'
        found = {
            (sample.name[len(name) :], sample.labels.get("le")): sample.exemplar
            for family in families(gateway, match, accept=OPENMETRICS).values()
            for sample in family.samples
            if sample.exemplar is not None
        }
        assert set(found) == {("_total", None), ("_h_bucket", "1.0"), ("_h_bucket", "2.0")}
        of_counter = found["_total", None]
        assert of_counter.labels == {"trace_id": TRACE, "span_id": TRACE[:16], "user": "x"}
        assert (of_counter.value, seconds(of_counter.timestamp)) == (2.0, at / 1000)
        assert found["_h_bucket", "2.0"].labels["trace_id"] == TRACE[::-1]
        assert "# {" not in scrape(gateway, match).text

    def test_the_newest_of_a_series(self, gateway: Running) -> None:
        name, now = fresh(), now_ms()
        for ago in (3000, 2000):
            point = number(3.0, now - ago)
            point.exemplars.append(exemplar(float(ago), TRACE, now - ago))
            send(gateway, counter(name, point))
        (family,) = families(gateway, f"{name}_total", accept=OPENMETRICS).values()
        shown = family.samples[0].exemplar
        assert shown is not None
        assert shown.value == 2000.0

    @pytest.mark.parametrize(("length", "shown"), [(128 - 63 - 4, True), (128 - 63 - 3, False)])
    def test_128_letters_of_labels_are_the_most(self, gateway: Running, length: int, shown: bool) -> None:
        name, point = fresh(), number(1.0)
        point.exemplars.append(exemplar(1.0, TRACE, user="é" * length))
        send(gateway, counter(name, point))
        (family,) = families(gateway, f"{name}_total", accept=OPENMETRICS).values()
        assert (family.samples[0].exemplar is not None) == shown


class TestSelection:
    def test_match_is_a_union_of_selectors(self, gateway: Running) -> None:
        name = fresh()
        send(gateway, gauge(name, *(number(1.0, zone=zone) for zone in "abc")), gauge(f"{name}.other", number(2.0)))
        match = [f'{name}{{zone="a"}}', f'{name}{{zone=~"a|b"}}', f"{name}_other"]
        for path in ("", "/federate"):
            found = samples(text_families(scrape(gateway, *match, path=path).text))
            assert found == {(name, (("zone", "a"),)): "1", (name, (("zone", "b"),)): "1", (f"{name}_other", ()): "2"}

    def test_without_match_everything_comes(self, gateway: Running) -> None:
        name = fresh()
        send(gateway, gauge(name, number(1.0)))
        for accept in ("", OPENMETRICS):
            found = families(gateway, accept=accept)
            assert samples([found[name]]) == {(name, ()): "1"}

    @pytest.mark.parametrize("match", ["up{", "{}", "up[5m]"])
    def test_a_bad_match_is_400(self, gateway: Running, match: str) -> None:
        reply = gateway.get("/api/prometheus", **{"match[]": match})
        assert (reply.status_code, reply.json()["code"]) == (400, "bad_query")
        assert "parse error" in reply.json()["message"] or "non-empty matcher" in reply.json()["message"]

    @BOTH
    def test_content_types(self, gateway: Running, accept: str) -> None:
        expected = "application/openmetrics-text; version=1.0.0" if accept else "text/plain; version=0.0.4"
        assert scrape(gateway, "nothing", accept=accept).headers["content-type"] == f"{expected}; charset=utf-8"


NAMES = st.sampled_from(["a", "a.total", "a.count", "a.sum", "a.bucket", "b"])
NUMBERS = st.floats()


@st.composite
def any_metric(draw: st.DrawFn, prefix: str, at: int) -> Metric:
    """Any kind under any of few names."""
    name = f"{prefix}.{draw(NAMES)}"
    labels: dict[str, Any] = draw(
        st.dictionaries(st.sampled_from(["x", "le", "quantile"]), st.sampled_from(["1", "y"]))
    )
    kind = draw(st.sampled_from(["gauge", "counter", "histogram", "exponential", "summary"]))
    match kind:
        case "gauge":
            return gauge(name, number(draw(NUMBERS), at, **labels))
        case "counter":
            return counter(name, number(draw(NUMBERS), at, **labels))
        case "histogram":
            total = draw(st.one_of(NUMBERS, st.none()))
            return histogram(name, buckets([1, 2, 3], draw(st.sampled_from([[1, 2], [-1, 2]])), total, at, **labels))
        case "exponential":
            point = powers([1, 0], zero=draw(st.integers(0, 1)), negative=draw(st.sampled_from([[], [3]])), **labels)
            point.time_unix_nano = at * 1_000_000
            return exponential(name, point)
        case _:
            metric = summary(name, {0.5: draw(NUMBERS), 1.0: 2.0}, 3, draw(NUMBERS), **labels)
            metric.summary.data_points[0].time_unix_nano = at * 1_000_000
            return metric


@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_whatever_was_sent_can_be_scraped(gateway: Running, data: st.DataObject) -> None:
    """Types that share names, attributes named `le`: no sample twice, none with another value than the API has."""
    prefix, at = fresh(), now_ms()
    metrics = data.draw(st.lists(any_metric(prefix, at), min_size=1, max_size=6))
    send(gateway, *metrics)
    match = f'{{__name__=~"{prefix}_.*"}}'
    result = gateway.api("query", query=match)["result"]
    # The scrape shows native histograms as classic ones, which the API does not have.
    native = tuple(one.name.replace(".", "_") for one in metrics if one.HasField("exponential_histogram"))
    stored = {key: value for key, value in api_samples(result).items() if not key[0].startswith(native)}
    text = scrape(gateway, match, accept=OPENMETRICS).text
    for found in (samples(families(gateway, match).values()), samples(openmetrics_families(text))):
        same = {key: value for key, value in found.items() if key in stored}
        assert same == {key: stored[key] for key in same}


def api_samples(result: list[dict[str, Any]]) -> Samples:
    """Floats of an instant vector."""
    found: Samples = {}
    for one in result:
        labels = {name: value for name, value in one["metric"].items() if name not in ("job", "service_name")}
        if "value" in one:
            value = one["value"][1]
            found[labels.pop("__name__"), tuple(sorted(labels.items()))] = "0" if value == "-0" else value
    return found
