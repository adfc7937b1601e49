"""What people do on the page, in a real browser, against a real gateway."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.page.conftest import PHONE, Open, Watched, playwright
from tests.page.shop import TRACE, fill, send
from tests.support.gateways import Running, running

expect = playwright.expect
# One evaluation interval, one tick of the page's events and a query, with a busy machine's patience.
SOON_MS = 15_000


@pytest.fixture(scope="module")
def shop(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway with ten minutes of two services, one of whose routes fails."""
    with running(tmp_path_factory.mktemp("shop"), evaluation_interval=1000) as one:
        fill(one)
        yield one


def at(gateway: Running, place: str = "") -> str:
    return gateway.url("web_port", f"/#/{place}")


def test_from_the_first_run_to_the_first_chart(built: Path, tmp_path: Path, open_page: Open) -> None:
    with running(tmp_path) as gateway:
        page = open_page(at(gateway))
        expect(page.get_by_role("heading", name="Waiting for the first request")).to_be_visible()
        for block in page.locator("pre.block").all():
            expect(block).to_contain_text(gateway.url("web_port"))
        # What is refused is shown with its reason, by itself.
        assert send(gateway, "/v1/metrics", b"{no json") == 400
        expect(page.get_by_role("region", name="Inbox").get_by_text("refused").first).to_be_visible(timeout=SOON_MS)
        fill(gateway)
        services = page.get_by_role("region", name="Services")
        expect(services.get_by_role("link", name="shop-web")).to_be_visible(timeout=SOON_MS)
        expect(page.locator(".plot canvas").first).to_be_visible()
        page.context.close()


def test_an_incident_from_the_overview_to_the_trace(shop: Running, open_page: Open) -> None:
    page = open_page(at(shop, "overview?start=15m"))
    services = page.get_by_role("region", name="Services")
    services.get_by_role("link", name="shop-web").click()
    expect(page.get_by_role("heading", name="shop-web")).to_be_visible()
    expect(page.locator(".plot canvas")).to_have_count(3)
    expect(page.get_by_role("region", name="Errors of shop-web").get_by_text("503").first).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("Requests by duration"))).to_be_visible()
    page.get_by_role("region", name="Exemplars of shop-web").get_by_role("link").first.click()
    expect(page).to_have_url(re.compile(f"#/traces/{TRACE}"))
    spans = page.get_by_role("region", name="Spans of the trace")
    spans.get_by_role("button", name=re.compile("POST .orders")).click()
    expect(spans.get_by_text("the payment provider does not answer")).to_be_visible()


def test_explore(shop: Running, open_page: Open) -> None:
    page = open_page(at(shop, "explore?start=15m"))
    editor = page.get_by_role("textbox", name="Query A")
    expect(page.locator(".cm-editor")).to_be_visible()
    editor.click()
    page.keyboard.type("sum by (http_route) (rate(http_server_request_dur")
    expect(page.locator(".cm-tooltip-autocomplete")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.type("ation_seconds_count[1m]))")
    page.keyboard.press("Control+Enter")
    legend = page.get_by_role("group", name="Newest values")
    expect(legend.get_by_role("button")).to_have_count(2)
    expect(page.get_by_role("region", name="Values of A").get_by_text("/checkout")).to_be_visible()
    assert "http_server_request_duration_seconds_count" in page.url
    legend.get_by_role("button", name="/checkout").click()
    expect(legend.get_by_role("button", name="/products")).to_have_attribute("aria-pressed", "false")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export Values of A as CSV").click()
    text = Path(download.value.path()).read_text()
    assert text.splitlines()[0] == "http_route,Value"
    assert "/checkout" in text
    # The address holds all of it.
    address = page.url
    again = open_page(address)
    expect(again.get_by_role("region", name="Values of A").get_by_text("/checkout")).to_be_visible()


def test_the_list_of_metrics(shop: Running, open_page: Open) -> None:
    page = open_page(at(shop, "explore?start=15m"))
    page.get_by_role("searchbox", name="Find a metric").fill("duration count")
    metric = page.get_by_role("button", name=re.compile("^http_server_request_duration_seconds_count"))
    expect(metric).to_contain_text("4 series")
    metric.click()
    expect(page.locator(".plot canvas")).to_be_visible()


def test_zoom_and_query_of_a_chart(shop: Running, open_page: Open) -> None:
    page = open_page(at(shop, "service/shop-web?start=15m&source=http"))
    over = page.locator(".plot .u-over").first
    expect(over).to_be_visible()
    box = over.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 20, steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"start=\d{9,}.*end=\d{9,}"))
    page.get_by_role("link", name="Query of Requests").click()
    expect(page.locator(".cm-content")).to_contain_text("http_server_request_duration_seconds_count")
    # The range went along.
    assert re.search(r"start=\d{9,}.*end=\d{9,}", page.url)


def test_a_query_that_is_wrong(shop: Running, open_page: Open, watched: Watched) -> None:
    watched.expected = ("status of 400",)
    page = open_page(at(shop, "explore?q=sum(("))
    expect(page.get_by_role("alert").first).to_contain_text("parse error")


def test_a_rule_made_tried_fired_and_silenced(shop: Running, open_page: Open) -> None:
    page = open_page(at(shop, "alerts/rules"))
    page.get_by_role("button", name="New rule").click()
    page.get_by_label("Name", exact=True).fill("Checkout fails")
    page.get_by_label("Threshold").fill("0.05")
    page.get_by_label("Over, in minutes").fill("10")
    page.get_by_label("How far back").select_option("1h")
    expect(page.get_by_role("status").filter(has_text="would have fired")).to_be_visible(timeout=SOON_MS)
    page.get_by_role("button", name="YAML").click()
    expect(page.locator("pre.block").first).to_contain_text("metric: error_rate")
    page.get_by_role("button", name="Form").click()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("region", name="Rules").get_by_role("link", name="Checkout fails")).to_be_visible()
    page.get_by_role("link", name="Active").click()
    active = page.get_by_role("region", name="Active alerts")
    expect(active.get_by_text("firing").first).to_be_visible(timeout=SOON_MS)
    active.get_by_role("row").filter(has_text="service_name=shop-web").get_by_role("link", name="Silence").click()
    page.get_by_label("Your name").fill("ada")
    page.get_by_label("Why").fill("known")
    page.get_by_role("button", name="Silence").click()
    expect(page.get_by_role("region", name="Silences").get_by_text("known")).to_be_visible()
    page.get_by_role("link", name="Active").click()
    expect(active.get_by_text("silenced")).to_be_visible(timeout=SOON_MS)


def test_what_is_wrong_with_a_rule_is_told(shop: Running, open_page: Open, watched: Watched) -> None:
    watched.expected = ("status of 400",)
    page = open_page(at(shop, "alerts/rules?new=1"))
    page.get_by_label("Name", exact=True).fill("Impossible")
    page.get_by_label("Threshold").fill("5")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("between 0 and 1")


def test_costs_and_what_if(shop: Running, open_page: Open) -> None:
    page = open_page(at(shop, "costs"))
    expect(page.get_by_role("region", name="Costs by product").get_by_text("durable_objects").first).to_be_visible()
    page.get_by_role("link", name="What if").click()
    page.get_by_label(re.compile("Successes kept")).fill("5")
    expect(page.get_by_role("status").filter(has_text=re.compile("Saves|Costs"))).to_be_visible()
    page.get_by_role("link", name="Budgets").click()
    page.get_by_label("USD a month").fill("20")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.get_by_role("region", name="Budgets").get_by_text("$20.00")).to_be_visible()


def test_keys(shop: Running, open_page: Open) -> None:
    page = open_page(at(shop, "overview?start=15m"))
    expect(page.get_by_role("region", name="Services")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.keyboard.press("g")
    page.keyboard.press("e")
    expect(page.get_by_role("heading", name="Explore")).to_be_visible()
    assert "start=15m" in page.url
    expect(page.locator(".cm-editor")).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Find a metric")).to_be_focused()


def test_tables_sort(shop: Running, open_page: Open) -> None:
    page = open_page(at(shop, "system/cardinality"))
    table = page.get_by_role("region", name="Series by metric")
    table.get_by_role("button", name="Metric").click()
    first = table.locator("tbody tr").first.locator("td").first.inner_text()
    table.get_by_role("button", name="Metric").click()
    expect(table.locator("tbody tr").first.locator("td").first).not_to_have_text(first)


def test_tokens(built: Path, tmp_path: Path, open_page: Open, watched: Watched) -> None:
    """The first token closes the door; who has it may come in."""
    watched.expected = ("status of 401", "status of 403")
    with running(tmp_path) as gateway:
        secret = gateway.http.post(
            gateway.url("web_port", "/api/tokens"), json={"name": "ada", "scopes": ["admin"]}
        ).json()["token"]
        page = open_page(at(gateway))
        page.get_by_label("Token").fill(secret)
        page.get_by_role("button", name="Enter").click()
        expect(page.get_by_role("heading", name="Waiting for the first request")).to_be_visible()
        page.context.close()


PLACES = {
    "overview": "Services",
    "service/shop-web": "Errors of shop-web",
    "explore?q=queue_depth": "List of metrics",
    "traces": "Traces",
    f"traces/{TRACE}": "Spans of the trace",
    "alerts/rules": "Templates",
    "costs": "Costs by product",
    "system/cardinality": "Series by metric",
    "connect": "Inbox",
}


@pytest.fixture(scope="module")
def axe(tools: Path) -> str:
    """The checker of accessibility, as text for the page."""
    path = tools / "node_modules" / "axe-core" / "axe.min.js"
    if not path.is_file():
        pytest.skip("axe-core is not installed")
    return path.read_text(encoding="utf-8")


def violations(page: Any, axe: str) -> dict[str, list[str]]:
    """Rule -> what breaks it."""
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return {one["id"]: [node["html"][:200] for node in one["nodes"]] for one in found}


@pytest.mark.parametrize("place", PLACES)
def test_everyone_can_use_it(shop: Running, open_page: Open, axe: str, place: str) -> None:
    """Light and dark, at a desk and on a phone, where nothing may reach beyond the edge."""
    page = open_page(at(shop, place))
    expect(page.get_by_role("region", name=PLACES[place]).first).to_be_visible()
    assert violations(page, axe) == {}
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    # Charts follow a new width a moment later.
    page.wait_for_function(
        "document.documentElement.scrollWidth === document.documentElement.clientWidth", timeout=10_000
    )
    assert violations(page, axe) == {}


def test_the_checker_sees_what_is_wrong(shop: Running, open_page: Open, axe: str) -> None:
    page = open_page(at(shop))
    expect(page.get_by_role("region", name="Services")).to_be_visible()
    page.evaluate("document.body.append(document.createElement('img'), document.createElement('button'))")
    assert {"image-alt", "button-name"} <= violations(page, axe).keys()
