"""Accept headers and the format they get."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirubato.web.negotiation import OPENMETRICS, TEXT, negotiate

PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
PROMETHEUS_3_WITH_PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6," + PROMETHEUS_3
)
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
GRAFANA_AGENT = (
    "application/openmetrics-text; version=1.0.0,application/openmetrics-text; version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
VMAGENT = "text/plain;version=0.0.4;q=1,*/*;q=0.1"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (PROMETHEUS_3, f"{OPENMETRICS}; escaping=allow-utf-8"),
        (PROMETHEUS_3_WITH_PROTOBUF, f"{OPENMETRICS}; escaping=allow-utf-8"),
        (PROMETHEUS_2, OPENMETRICS),
        (GRAFANA_AGENT, OPENMETRICS),
        (VMAGENT, TEXT),
        (BROWSER, TEXT),
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain", TEXT),
        ("text/plain; version=0.0.4", TEXT),
        ("application/json", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("Application/OpenMetrics-Text ; Version=1.0.0", OPENMETRICS),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=0.5,text/plain;q=0.6", TEXT),
        ("application/openmetrics-text;q=0.5,text/plain;q=0.5", OPENMETRICS),
        ("application/openmetrics-text;q=0.5,*/*", TEXT),
        ("application/openmetrics-text;q=0.5,text/plain;q=0.4,*/*", OPENMETRICS),
        ("application/openmetrics-text;q=0.5,text/*;q=0.4,*/*", OPENMETRICS),
        ("application/openmetrics-text;q=x", TEXT),
        ("application/openmetrics-text;q=nan", TEXT),
        ("application/openmetrics-text;q=7,text/plain", OPENMETRICS),
        ("application/openmetrics-text;escaping=underscores", f"{OPENMETRICS}; escaping=underscores"),
        ("application/openmetrics-text;escaping=values", f"{OPENMETRICS}; escaping=values"),
        ("application/openmetrics-text;escaping=dots", f"{OPENMETRICS}; escaping=underscores"),
        ("application/openmetrics-text;escaping=whatever", f"{OPENMETRICS}; escaping=underscores"),
        (",;=,;q=,", TEXT),
    ],
)
def test_formats(accept: str, content_type: str) -> None:
    found = negotiate(accept)
    assert (found.openmetrics, found.content_type) == (content_type.startswith("application/"), content_type)


PARTS = st.sampled_from(
    ["application/openmetrics-text", "text/plain", "*/*", ";q=", ";escaping=", "0.5", ",", ";", "="]
)


@given(st.one_of(st.text(), st.lists(PARTS).map("".join)))
def test_any_header_gets_a_format_that_we_have(accept: str) -> None:
    found = negotiate(accept)
    assert found.content_type.startswith(OPENMETRICS if found.openmetrics else TEXT)
    assert found.openmetrics <= ("application/openmetrics-text" in accept.lower())
