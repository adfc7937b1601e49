"""The rules that come with the gateway: each fires on what it is for, and on nothing else."""

from collections.abc import Mapping

import pytest

from mirubato.alerts.api_rules import rule_from
from mirubato.alerts.rules import evaluate
from mirubato.alerts.scratch import Scratch
from mirubato.alerts.templates import TEMPLATES
from tests.alerts.worlds import MINUTE_MS, budget, world

AT = 8 * 60
HTTP = "http_server_request_duration_seconds"


def requests(bad: str) -> dict[str, str]:
    """100 a minute for eight hours, of which some fail."""
    return {
        f'{HTTP}_count{{service_name="api",http_response_status_code="200"}}': f"0+100x{AT}",
        f'{HTTP}_count{{service_name="api",http_response_status_code="500"}}': bad,
    }


GOOD = world(
    {
        **requests(f"0x{AT}"),
        f'{HTTP}_bucket{{service_name="api",le="0.1"}}': f"0+100x{AT}",
        f'{HTTP}_bucket{{service_name="api",le="+Inf"}}': f"0+100x{AT}",
        'queue_depth{service_name="api"}': f"5x{AT}",
        'target_info{service_name="api"}': f"1x{AT}",
        "mirubato_cost_today_usd": f"1x{AT}",
        "mirubato_cost_month_projected_usd": f"30x{AT}",
        "mirubato_budget_hours_left": f"500x{AT}",
        "mirubato_healthy": f"1x{AT}",
        "mirubato_rule_failures_total": f"3x{AT}",
        'probe_success{instance="https://x"}': f"1x{AT}",
    }
)
BAD: Mapping[str, Mapping[str, str]] = {
    "high-error-rate": requests(f"0+10x{AT}"),
    "low-success-rate": requests(f"0+10x{AT}"),
    "slo-burn-fast": requests(f"0x{AT - 60} 0+3x60"),
    "slo-burn-slow": requests(f"0x{AT - 360} 0+1x360"),
    "high-p95": {
        f'{HTTP}_bucket{{service_name="api",le="1"}}': f"0+10x{AT}",
        f'{HTTP}_bucket{{service_name="api",le="2"}}': f"0+100x{AT}",
        f'{HTTP}_bucket{{service_name="api",le="+Inf"}}': f"0+100x{AT}",
    },
    "high-queue-depth": {'queue_depth{service_name="api"}': f"5000x{AT}"},
    "cost-today": {"mirubato_cost_today_usd": f"11x{AT}"},
    "cost-month": {"mirubato_cost_month_projected_usd": f"101x{AT}"},
    "budget": {"mirubato_budget_hours_left": f"3x{AT}"},
    "missing-data": {'target_info{service_name="api"}': f"1x{AT - 10}"},
    "gateway-health": {"mirubato_healthy": f"0x{AT}"},
    "probe-down": {'probe_success{instance="https://x"}': f"0x{AT}"},
}


def fires(scratch: Scratch, key: str) -> int:
    rule = rule_from(TEMPLATES[f"template-{key}"], key)
    return sum(one.active for one in evaluate(rule, scratch, AT * MINUTE_MS, budget()))


def test_each_has_a_case_here() -> None:
    assert {f"template-{key}" for key in BAD} == set(TEMPLATES)


@pytest.mark.parametrize("key", BAD)
def test_it_fires_on_what_it_is_for(key: str) -> None:
    assert (fires(world(BAD[key]), key), fires(GOOD, key)) == (1, 0)


def test_a_gateway_that_stores_nothing_is_unwell() -> None:
    assert fires(world({}), "gateway-health") == 1
