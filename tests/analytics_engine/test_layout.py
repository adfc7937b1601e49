"""Layouts: where things are, what a file may say, and what counts as drift."""

from pathlib import Path

import pytest

from mirubato.analytics_engine.event_points import current_limits
from mirubato.analytics_engine.layout import (
    BLOBS,
    DOUBLES,
    FRAME,
    default_layout,
    drift,
    load_layout,
    parse,
)
from mirubato.errors import ConfigError

HEAD = 'name = "shop"\nversion = 1\n'
OLD = parse(
    HEAD
    + 'common = ["error.type"]\n[metrics.orders]\nblobs = ["plan", "country"]\n[metrics.jobs]\nblobs = ["", "queue"]'
)


def changed(**metrics: str) -> str:
    lists = {"orders": '["plan", "country"]', "jobs": '["", "queue"]', **metrics}
    return "".join(f"[metrics.{name}]\nblobs = {blobs}\n" for name, blobs in lists.items())


NEXT = 'name = "shop"\nversion = 2\ncommon = ["error.type"]\n'


def test_a_layout_fills_no_more_than_a_point_has() -> None:
    limits = current_limits()
    assert limits.blobs == BLOBS
    assert all(len(names) < limits.doubles for names in DOUBLES.values())


def test_the_default_says_where_each_attribute_is() -> None:
    layout = default_layout()
    assert layout.tag == "mirubato/1"
    assert [layout.blob("any", name) for name in FRAME] == list(range(1, 9))
    assert layout.blob("any", "error.type") == 9
    assert layout.blob("any", "http.route") is None
    assert layout.blob("http.server.request.duration", "http.request.method") == 13
    assert layout.blob("http.server.request.duration", "http.route") == 14
    assert layout.blob("http.server.request.duration", "") is None
    assert layout.index_parts("any") == ("service.name", "metric")
    assert len(layout.bounds("http.server.request.duration")) == 14


def test_a_layout_can_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "layout.toml"
    file.write_text(HEAD, encoding="utf-8")
    assert load_layout(file).tag == "shop/1"
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        load_layout(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name =", "Invalid value"),
        ("version = 1", "`name`"),
        ('name = "a/b"\nversion = 1', "`name`"),
        ('name = "a"\nversion = 0', "`version`"),
        ('name = "a"\nversion = true', "`version`"),
        (HEAD + "blobs = []", "unknown keys: blobs"),
        (HEAD + "common = 3", "common is a list of names"),
        (HEAD + 'common = ["a", "b", "c", "d", "e"]', "common has 5 names, 4 fit"),
        (HEAD + "metrics = 3", "metrics is a table"),
        (HEAD + "[metrics.x]\nblob = []", r'metrics\."x" has unknown keys: blob'),
        (HEAD + f"[metrics.x]\nblobs = {[str(n) for n in range(9)]}", "9 names, 8 fit"),
        (HEAD + '[metrics.x]\nblobs = ["a", "a"]', "two places for a"),
        (HEAD + 'common = ["a"]\n[metrics.x]\nblobs = ["a"]', "two places for a"),
        (HEAD + 'common = ["unit"]', "common has two places for unit"),
        (HEAD + "[metrics.x]\nbounds = [2, 1]", "do not rise"),
        (HEAD + '[metrics.x]\nbounds = ["a"]', "list of numbers"),
    ],
)
def test_a_layout_that_cannot_be_used_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        NEXT + changed(orders='["plan", "country", "device"]'),
        NEXT + changed(orders='["plan", ""]'),
        NEXT + changed(refunds='["reason"]'),
        NEXT.replace("error.type", 'error.type", "faas.name') + changed(),
    ],
)
def test_names_may_be_added_at_the_end_and_go_out_of_use(text: str) -> None:
    assert drift(OLD, parse(text)) == []


def test_the_same_is_no_drift() -> None:
    assert drift(OLD, OLD) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            NEXT + changed(orders='["country", "plan"]'),
            ["orders: blob13 was plan, is country", "orders: blob14 was country, is plan"],
        ),
        (
            NEXT + changed(orders='["plan"]'),
            ["orders: blob14 was country, is gone; put it out of use with an empty name instead"],
        ),
        (NEXT + changed(jobs='["priority", "queue"]'), ["jobs: blob13 was out of use, is priority"]),
        (NEXT.replace("error.type", "faas.name") + changed(), ["common: blob9 was error.type, is faas.name"]),
        (NEXT.replace('"shop"', '"store"') + changed(), ["the layout shop is now called store"]),
        (
            NEXT.replace("2", "1") + changed(orders='["plan", "country", "device"]'),
            ["the content changed, the version is still 1"],
        ),
    ],
)
def test_what_moves_is_found(text: str, found: list[str]) -> None:
    assert drift(OLD, parse(text)) == found


def test_a_metric_that_lost_its_slots_is_found() -> None:
    assert len(drift(OLD, parse(NEXT))) == 4  # both of orders, and the place and the name of jobs
