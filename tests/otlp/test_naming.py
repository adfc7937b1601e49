"""Names as a Prometheus server makes them; the tables hold every rule and the corners between rules."""

import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mirubato.otlp.naming import job_and_instance, label_name, metric_name, prometheus_unit, unit_suffixes

METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def counter(name: str, unit: str = "") -> str:
    return metric_name(name, unit, monotonic=True, gauge=False)


def gauge(name: str, unit: str = "") -> str:
    return metric_name(name, unit, monotonic=False, gauge=True)


def other(name: str, unit: str = "") -> str:
    """Histograms, summaries and sums that are not monotonic."""
    return metric_name(name, unit, monotonic=False, gauge=False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain", "plain"),
        ("http.server.active_requests", "http_server_active_requests"),
        ("a-b/c d", "a_b_c_d"),
        ("a@@##$$b", "a_b"),
        ("a__b___c", "a_b_c"),
        ("_a_", "a"),
        ("..a..", "a"),
        ("job:rate:sum", "job:rate:sum"),
        (":", ":"),
        ("CamelCase", "CamelCase"),
        ("métrica.ñ", "m_trica"),
        ("日本.requests", "requests"),
        ("\uff13 places", "places"),  # a digit elsewhere in Unicode is no digit here
        ("2xx.responses", "_2xx_responses"),
        ("_2xx", "_2xx"),
        ("9", "_9"),
    ],
)
def test_characters_of_a_metric_name(name: str, expected: str) -> None:
    assert gauge(name) == expected


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ("d", "days"),
        ("h", "hours"),
        ("min", "minutes"),
        ("s", "seconds"),
        ("ms", "milliseconds"),
        ("us", "microseconds"),
        ("ns", "nanoseconds"),
        ("By", "bytes"),
        ("KiBy", "kibibytes"),
        ("MiBy", "mebibytes"),
        ("GiBy", "gibibytes"),
        ("TiBy", "tibibytes"),
        ("KBy", "kilobytes"),
        ("MBy", "megabytes"),
        ("GBy", "gigabytes"),
        ("TBy", "terabytes"),
        ("kBy", "kBy"),
        ("m", "meters"),
        ("V", "volts"),
        ("A", "amperes"),
        ("J", "joules"),
        ("W", "watts"),
        ("g", "grams"),
        ("Cel", "celsius"),
        ("Hz", "hertz"),
        ("%", "percent"),
        ("1/s", "per_second"),
        ("1/m", "per_minute"),
        ("1/h", "per_hour"),
        ("1/d", "per_day"),
        ("1/w", "per_week"),
        ("1/mo", "per_month"),
        ("1/y", "per_year"),
        ("/s", "per_second"),
        ("By/s", "bytes_per_second"),
        ("m/s", "meters_per_second"),
        ("m/m", "meters_per_minute"),
        ("By/min", "bytes_per_min"),
        ("requests/m", "requests_per_minute"),
        ("1/custom", "per_custom"),
        ("a/b/c", "a_per_b_c"),
        ("custom_unit", "custom_unit"),
        ("custom@unit#with$chars", "custom_unit_with_chars"),
        ("unit__with__many", "unit_with_many"),
        ("_unit", "unit"),
        ("By/_custom__unit_", "bytes_per_custom_unit"),
        ("W.h", "W_h"),
        (" s ", "seconds"),
        ("\u2003By\u00a0/\ts\n", "bytes_per_second"),
        ("\x1cs", "s"),  # white space to Python, not to Go: not trimmed, so it is no second
        ("{request}/s", "per_second"),
        ("By/{request}", "bytes"),
        ("By/", "bytes"),
    ],
)
def test_units_in_name_and_metadata(unit: str, words: str) -> None:
    assert other("metric", unit) == f"metric_{words}"
    assert prometheus_unit(unit) == words


@pytest.mark.parametrize("unit", ["", "1", "   ", "/", "{request}", "{a}/{b}", "By{sent}", "@#$", "__", "1/", "1/{x}"])
def test_units_that_add_nothing(unit: str) -> None:
    assert other("metric", unit) == "metric"
    assert prometheus_unit(unit) == ""


@pytest.mark.parametrize(
    ("unit", "in_name", "in_metadata"),
    [
        ("unit_", "metric_unit_", "unit"),  # only metadata loses the underscore at the end
        ("a_/b_", "metric_a_per_b", "a__per_b"),  # only the name loses the one in the middle
        ("By/@", "metric_bytes", "bytes_per"),
    ],
)
def test_where_name_and_metadata_part(unit: str, in_name: str, in_metadata: str) -> None:
    assert other("metric", unit) == in_name
    assert prometheus_unit(unit) == in_metadata


def test_the_two_sides_of_a_unit() -> None:
    assert unit_suffixes("By/s") == ("bytes", "per_second")
    assert unit_suffixes("{request}/s") == ("", "per_second")
    assert unit_suffixes("a_/@") == ("a_", "per_")


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("request.duration.seconds", "s", "request_duration_seconds"),
        ("disk.bytes.used", "By", "disk_bytes_used"),  # anywhere in the name
        ("Bytes", "By", "Bytes_bytes"),
        ("kilobytes", "By", "kilobytes_bytes"),
        ("io.bytes", "By/s", "io_bytes_per_second"),
        ("io_per_second", "1/s", "io_per_second_per_second"),  # two words against one suffix
        ("a_custom_unit", "custom_unit", "a_custom_unit_custom_unit"),
    ],
)
def test_a_unit_that_the_name_has(name: str, unit: str, expected: str) -> None:
    assert other(name, unit) == expected


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("requests", "", "requests_total"),
        ("requests", "1", "requests_total"),
        ("requests.total", "", "requests_total"),
        ("total.requests", "", "requests_total"),
        ("total_total_a_total", "", "a_total"),
        ("Total", "", "Total_total"),
        ("requests", "1/s", "requests_per_second_total"),
        ("cpu.time", "s", "cpu_time_seconds_total"),
        ("cpu_total", "s", "cpu_seconds_total"),
        ("cpu.seconds.total", "s", "cpu_seconds_total"),
        ("success.ratio", "1", "success_ratio_total"),
        ("total", "", "total"),
        ("things", "total", "things_total"),
        ("things", "unit_", "things_unit__total"),
        ("404s", "", "_404s_total"),
    ],
)
def test_counters_end_in_total(name: str, unit: str, expected: str) -> None:
    assert counter(name, unit) == expected


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("cpu.usage", "1", "cpu_usage_ratio"),
        ("cpu.usage.ratio", "1", "cpu_usage_ratio"),
        ("ratio.of.use", "1", "of_use_ratio"),
        ("cpu.usage", " 1 ", "cpu_usage"),  # the unit has to be "1" to the letter
        ("cpu.usage", "%", "cpu_usage_percent"),
        ("total", "1", "total_ratio"),
    ],
)
def test_gauges_without_dimension_end_in_ratio(name: str, unit: str, expected: str) -> None:
    assert gauge(name, unit) == expected


def test_only_gauges_are_ratios_and_only_counters_totals() -> None:
    assert other("queue.length", "1") == "queue_length"
    assert other("a.total", "") == "a_total"
    assert gauge("a.total.b", "") == "a_total_b"


@pytest.mark.parametrize("name", ["", "___", "@#$%", "日本", "{}"])
def test_names_of_nothing(name: str) -> None:
    for unit in ("", "1", "{x}"):
        with pytest.raises(ValueError, match="no letter, digit or colon"):
            other(name, unit)
    # As in Prometheus, what the suffixes add is enough for a name.
    assert other(name, "s") == "seconds"
    assert counter(name) == "total"
    assert gauge(name, "1") == "ratio"


def test_long_names_are_quoted_in_part() -> None:
    with pytest.raises(ValueError, match="metric name") as refused:
        other("@" * 100_000)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("plain", "plain"),
        ("CamelCase", "CamelCase"),
        ("http.request.method", "http_request_method"),
        ("with:colons", "with_colons"),
        ("a!b&c)", "a_b_c_"),
        ("a..b", "a__b"),
        ("a__b", "a__b"),
        ("foreign_字符", "foreign___"),
        ("1st", "key_1st"),
        ("9", "key_9"),
        ("_private", "key_private"),
        (".private", "key_private"),
        ("_", "key_"),
        ("é", "key_"),
        ("__reserved", "__reserved"),
        ("__name__", "__name__"),
        ("..name..", "__name__"),
        ("_.x", "__x"),
        ("___x", "___x"),
        ("\uff13rd", "key_rd"),
        ("a" * 1000 + ".b", "a" * 1000 + "_b"),
    ],
)
def test_label_names(key: str, expected: str) -> None:
    assert label_name(key) == expected


@pytest.mark.parametrize("key", ["", "__", "___", "..", "ようこそ", "." * 100_000])
def test_keys_that_make_no_label(key: str) -> None:
    with pytest.raises(ValueError, match="no letter or digit") as refused:
        label_name(key)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ({}, ("", "")),
        ({"service.name": "shop"}, ("shop", "")),
        ({"service.name": "shop", "service.namespace": "eu"}, ("eu/shop", "")),
        ({"service.namespace": "eu"}, ("", "")),
        ({"service.instance.id": "1"}, ("", "1")),
        ({"service.name": "shop", "service.namespace": "eu", "service.instance.id": "1"}, ("eu/shop", "1")),
        ({"service.name": "shop", "service.namespace": ""}, ("/shop", "")),
        ({"service.name": "", "service.namespace": "eu"}, ("eu/", "")),
        ({"service.name": "", "service.instance.id": ""}, ("", "")),
        ({"job": "a", "instance": "b", "host.name": "c"}, ("", "")),
    ],
)
def test_job_and_instance(resource: dict[str, str], expected: tuple[str, str]) -> None:
    assert job_and_instance(resource) == expected


# Text with the words and signs that the rules look for, so that rules meet each other often.
_PIECES = [
    "total",
    "ratio",
    "seconds",
    "per",
    "second",
    "1",
    "s",
    "By",
    "_",
    "__",
    ".",
    ":",
    "/",
    "{",
    "}",
    " ",
    "é",
]
_TEXTS = st.one_of(st.text(max_size=12), st.lists(st.sampled_from(_PIECES), max_size=6).map("".join))


@given(_TEXTS, _TEXTS, st.sampled_from([counter, gauge, other]))
@example("1", "", other)
def test_metric_names_are_valid(name: str, unit: str, kind: Callable[[str, str], str]) -> None:
    try:
        made = kind(name, unit)
    except ValueError:
        assert kind is not counter  # a counter has `total` at least
        assert not re.search(r"[a-zA-Z0-9:]", name)
    else:
        assert METRIC_NAME.fullmatch(made)


@given(_TEXTS.filter(lambda name: re.search(r"[a-zA-Z0-9:]", name) is not None))
def test_a_prometheus_name_stays_what_it_is(name: str) -> None:
    for kind in (counter, gauge, other):
        assert kind(kind(name)) == kind(name)
        assert kind(kind(name, "s"), "s") == kind(name, "s")
    assert gauge(gauge(name, "1"), "1") == gauge(name, "1")


@given(_TEXTS)
def test_units_have_no_underscore_at_either_end(unit: str) -> None:
    made = prometheus_unit(unit)
    assert re.fullmatch(r"[a-zA-Z0-9_:]*", made)
    assert not made.startswith("_")
    assert not made.endswith("_")


@given(_TEXTS)
def test_label_names_are_valid_and_stay(key: str) -> None:
    try:
        made = label_name(key)
    except ValueError:
        assert not re.search(r"[a-zA-Z0-9]", key)
    else:
        assert LABEL_NAME.fullmatch(made)
        assert label_name(made) == made
