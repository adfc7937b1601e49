"""Costs through the front door: telemetry in, dollars, series, budgets and reports out."""

import asyncio
import json
import time
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self

import pytest

from mirubato.cli import main
from mirubato.costs.ledger import Ledger
from mirubato.costs.periods import HOUR_MS
from mirubato.costs.prices import Meter
from mirubato.costs.usage import Source
from tests.costs.cloudflare import Cloudflare, serving
from tests.spans.making import worker_json
from tests.support.doors import HTTP
from tests.support.gateways import Running, running
from tests.support.requests import buckets, counter, fresh, histogram, metrics, now_ms, number

M = 1_000_000
WORKER = "cloudflare.worker.requests"


def tick(one: Running) -> None:
    """What the gateway does each minute, now."""
    asyncio.run_coroutine_threadsafe(one.gateway.costing.tick(), one.loop).result(20)


def ask(one: Running) -> None:
    """What it asks Cloudflare each quarter of an hour, now."""
    asyncio.run_coroutine_threadsafe(one.gateway.costing.ask(), one.loop).result(20)


def use(one: Running, name: str, amounts: list[float], **labels: str) -> None:
    """A counter that rises by `amounts`, one each 10 s, the newest a second ago."""
    now, total, points = now_ms(), 0.0, [number(0.0, now_ms() - len(amounts) * 10_000 - 1000, **labels)]
    for position, amount in enumerate(amounts):
        total += amount
        points.append(number(total, now - (len(amounts) - 1 - position) * 10_000 - 1000, **labels))
    assert HTTP.export(one, "metrics", metrics(counter(name, *points))).code == 0


def costs(one: Running, **asked: str) -> Any:
    reply = one.get("/api/costs", **asked)
    assert reply.status_code == 200, reply.text
    return reply.json()


def product(answer: Any, name: str) -> Any:
    (found,) = [row for row in answer["breakdown"]["product"] if row["product"] == name]
    return found


def quantities(answer: Any) -> dict[str, float]:
    """What was used of each meter."""
    rows = answer["breakdown"]["product"]
    return {
        f"{row['product']}.{line['meter']}": line["quantity"]
        for row in rows
        for line in row["meters"]
        if line["quantity"] and line["meter"] != "subscription"
    }


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as gateway:
        yield gateway


class TestAnswer:
    def test_a_fresh_gateway(self, one: Running) -> None:
        answer = costs(one, breakdown="true")
        assert {"so_far", "today", "projection", "breakdown", "sources", "missing", "headroom", "budgets"} <= set(
            answer
        )
        assert {"low", "mid", "high"} <= set(answer["projection"])
        assert (answer["so_far"], answer["today"], answer["currency"], answer["plan"]) == (5.0, 0.0, "USD", "paid")
        products = {row["product"]: row["usd"] for row in answer["breakdown"]["product"]}
        assert products["workers"] == 5.0
        assert {name for name, usd in products.items() if not usd} >= {"analytics_engine", "d1", "kv", "r2", "queues"}
        assert [source["source"] for source in answer["sources"]] == ["metered", "graphql", "own"]
        assert answer["monitoring"]["text"].startswith("What this monitoring costs you: $")

    def test_telemetry_becomes_dollars(self, one: Running) -> None:
        use(one, WORKER, [4 * M, 8 * M], script_name="api", outcome="ok")
        now = now_ms()
        cpu = [
            buckets([count], [], total, now - ago, script_name="api")
            for ago, count, total in ((9000, 1, 2.0), (1000, 9, 12.0))
        ]
        HTTP.export(one, "metrics", metrics(histogram("cloudflare.worker.cpu_time", *cpu, unit="s")))
        use(one, "cloudflare.d1.rows_written", [51 * M], script_name="api")
        use(one, "cloudflare.kv.operations", [100], script_name="api", operation="get")
        use(one, "cloudflare.kv.operations", [50], script_name="api", operation="put")
        use(one, "cloudflare.r2.operations", [30], script_name="api", operation="PutObject", bucket="assets")
        use(one, "cloudflare.queue.messages", [10], script_name="api", operation="send", queue="jobs")
        use(one, "cloudflare.queue.messages", [10], script_name="work", operation="consume", queue="jobs")
        use(one, "resource.usage", [70], resource="do_requests")
        use(one, "resource.usage", [5], resource="d1.rows_read", **{"faas.name": "api"})
        tick(one)
        answer = costs(one, breakdown="true")
        used = quantities(answer)
        assert used == {
            "workers.requests": 12 * M,
            "workers.cpu_ms": 10_000,
            "d1.rows_written": 51 * M,
            "d1.rows_read": 5,
            "kv.reads": 100,
            "kv.writes": 50,
            "r2.class_a": 30,
            "queues.operations": 30,
            "durable_objects.requests": 70,
        }
        assert (answer["so_far"], answer["today"]) == (pytest.approx(6.6), pytest.approx(1.6))
        scripts = {row["script"]: row["usd"] for row in answer["breakdown"]["script"]}
        assert scripts["api"] == pytest.approx(1.6)
        labels = {row["label"] for row in answer["breakdown"]["label"]}
        assert {"bucket=assets", "queue=jobs", "(none)"} <= labels
        for dimension in ("script", "metric", "label", "product"):
            assert sum(row["usd"] for row in answer["breakdown"][dimension]) == pytest.approx(answer["so_far"]), (
                dimension
            )
        lines = product(answer, "workers")["meters"]
        assert {line["meter"]: line["sources"] for line in lines}["requests"] == ["metered"]

    def test_counted_once_however_often_it_is_looked_at(self, one: Running) -> None:
        use(one, WORKER, [100], script_name="api")
        for _ in range(3):
            tick(one)
        use(one, WORKER, [100], script_name="web")
        tick(one)
        assert quantities(costs(one)) == {"workers.requests": 200}

    def test_where_spans_tell_the_app_is_not_counted_too(self, one: Running) -> None:
        use(one, "cloudflare.d1.rows_written", [40], script_name="api")
        use(one, "resource.usage", [39], resource="d1_rows_written", **{"faas.name": "api"})
        use(one, "resource.usage", [7], resource="d1_rows_written", **{"faas.name": "batch"})
        tick(one)
        assert quantities(costs(one)) == {"d1.rows_written": 47}

    def test_a_resource_without_a_price_is_told(self, one: Running) -> None:
        use(one, "resource.usage", [7], resource="unicorns")
        tick(one)
        answer = costs(one)
        assert any("unicorns" in row["what"] and row["effect"] == "not counted" for row in answer["missing"])
        assert answer["so_far"] == 5.0

    def test_event_points_are_what_monitoring_costs(self, one: Running) -> None:
        point = {"timestamp_ms": now_ms(), "index": "api", "blobs": ["x"], "doubles": [1.0], "sample_interval": 1}
        for _ in range(2):
            body = json.dumps({"dataset": "mirubato", "points": [point] * 100})
            assert one.http.post(one.url("web_port", "/api/event-points"), content=body).status_code == 200
            tick(one)
        one.gateway.costing.count_d1("rows_written", 300)
        tick(one)
        answer = costs(one, breakdown="true")
        assert quantities(answer) == {"analytics_engine.points": 200, "d1.rows_written": 300}
        assert "(this gateway)" in {row["script"] for row in answer["breakdown"]["script"]}
        at_once = [row for row in answer["headroom"] if row["limit"] == "event_points_per_invocation"]
        assert [(row["of"], row["used"], row["value"]) for row in at_once] == [("dataset=mirubato", 100, 250)]
        own = answer["sources"][2]
        assert own["meters"] == ["d1.rows_written"]

    @pytest.mark.parametrize("month", ["2026", "soon", "9000-01", "2026-13"])
    def test_a_month_that_is_none(self, gateway: Running, month: str) -> None:
        reply = gateway.get("/api/costs", month=month)
        assert (reply.status_code, reply.json()["field"]) == (400, "month")

    def test_a_month_before_anything_was_measured(self, gateway: Running) -> None:
        answer = costs(gateway, month="2026-01")
        assert answer["period"]["complete"]
        assert (answer["so_far"], answer["today"]) == (5.0, 0.0)
        assert answer["missing"]

    def test_what_came_while_the_gateway_was_away_is_counted_at_the_next_start(self, tmp_path: Path) -> None:
        hour = now_ms() // HOUR_MS * HOUR_MS
        with running(tmp_path) as first:
            points = [
                number(value, hour - 30 * HOUR_MS + at, script_name="api") for at, value in ((1000, 0), (9000, 50))
            ]
            HTTP.export(first, "metrics", metrics(counter(WORKER, *points)))
        with running(tmp_path) as again:
            tick(again)
            rows = Ledger(again.gateway.state).usage(hour - 31 * HOUR_MS, hour)
            assert [(row.hour, row.quantity, row.script) for row in rows] == [(hour - 30 * HOUR_MS, 50, "api")]


def test_who_sends_and_asks_sees_it(one: Running) -> None:
    """Without waiting for the minute."""
    use(one, WORKER, [12 * M], script_name="api")
    assert costs(one)["so_far"] == pytest.approx(5.6)


class TestSeries:
    def test_for_rules_and_dashboards(self, tmp_path: Path) -> None:
        with running(tmp_path, cost_budgets={"all": Decimal(6), "d1": Decimal(3)}) as one:
            use(one, WORKER, [12 * M], script_name="api")
            tick(one)
            assert float(one.value("mirubato_cost_today_usd")) == pytest.approx(0.6)
            assert float(one.value("mirubato_cost_month_projected_usd")) > 5.6
            assert float(one.value('mirubato_cost_usd{product="workers"}')) == pytest.approx(5.6)
            assert float(one.value('mirubato_cost_usd{product="r2"}')) == 0
            assert float(one.value('mirubato_budget_usd{product="d1"}')) == 3
            assert float(one.value('mirubato_budget_used_ratio{product="all"}')) == pytest.approx(5.6 / 6)
            assert 0 < float(one.value("mirubato_budget_hours_left")) < 24
            assert float(one.value('cloudflare_limit_used_ratio{limit="workers.requests_per_month"}')) == pytest.approx(
                1.2
            )
            summary = one.get("/api/dashboard").json()["costs"]
            assert (summary["so_far"], summary["today"]) == (pytest.approx(5.6), pytest.approx(0.6))
            assert summary["projection"]["low"] <= summary["projection"]["mid"] <= summary["projection"]["high"]


class TestCloudflare:
    def test_its_numbers_win_and_are_told_as_its(self, tmp_path: Path) -> None:
        hour = now_ms() // HOUR_MS * HOUR_MS - 5 * HOUR_MS
        with serving(Cloudflare()) as double:
            double.use("workersInvocationsAdaptive", hour, {"scriptName": "api"}, requests=11.0 * M, cpuTimeUs=2000.0)
            double.use("d1StorageAdaptiveGroups", hour, {"databaseId": "db"}, "max", databaseSizeBytes=9e9)
            settings = {
                "cloudflare_api_url": double.url,
                "cloudflare_api_token": double.token,
                "cloudflare_account_id": double.account,
            }
            with running(tmp_path, **settings) as one:
                points = [number(value, hour + at, script_name="api") for at, value in ((1000, 0), (9000, 10 * M))]
                HTTP.export(one, "metrics", metrics(counter(WORKER, *points)))
                tick(one)
                ask(one)
                answer = costs(one)
                used = quantities(answer)
                assert (used["workers.requests"], used["workers.cpu_ms"]) == (11 * M, 2)
                graphql = answer["sources"][1]
                assert graphql["status"] == "ok"
                assert {"workers.requests", "workers.cpu_ms", "d1.storage"} <= set(graphql["meters"])
                full = [row for row in answer["headroom"] if row["limit"] == "d1_database_size"]
                assert [(row["of"], row["ratio"]) for row in full] == [("database=db", pytest.approx(0.9))]
                double.token = "another"
                ask(one)
                answer = costs(one)
                assert answer["sources"][1]["status"] == "failing"
                assert quantities(answer)["workers.requests"] == 11 * M
                assert settings["cloudflare_api_token"] not in json.dumps(answer)


class TestBudgets:
    def test_set_and_taken_away(self, one: Running) -> None:
        url = one.url("web_port", "/api/costs/budgets")
        reply = one.http.put(url, json={"budgets": {"all": 20, "workers": "7.50"}})
        assert reply.status_code == 200, reply.text
        found = {row["product"]: (row["usd"], row["spent"]) for row in reply.json()["budgets"]}
        assert found == {"all": (20.0, 5.0), "workers": (7.5, 5.0)}
        assert [row["product"] for row in one.http.put(url, json={"budgets": {"all": None}}).json()["budgets"]] == [
            "workers"
        ]
        assert one.get("/api/costs/budgets").json()["fuse"] == {"webhook": False, "dry_run": True}

    @pytest.mark.parametrize(
        "document", [{}, {"budgets": []}, {"budgets": {}}, {"budgets": {"all": -1}}, {"budgets": {"all": "x"}},
                     {"budgets": {"all": True}}, {"budgets": {"unicorns": 5}}, {"budgets": {"all": "nan"}}, 5],
    )  # fmt: skip
    def test_what_is_no_budget(self, gateway: Running, document: Any) -> None:
        reply = gateway.http.put(gateway.url("web_port", "/api/costs/budgets"), json=document)
        assert (reply.status_code, reply.json()["code"]) == (400, "bad_field")

    def test_no_json(self, gateway: Running) -> None:
        reply = gateway.http.put(gateway.url("web_port", "/api/costs/budgets"), content=b"{")
        assert (reply.status_code, reply.json()["code"]) == (400, "bad_query")


class Hook:
    """A webhook that answers `statuses` in turn, then 200."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.bodies: list[Any] = []
        hook = self

        class Door(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(hook.statuses.pop(0) if hook.statuses else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Door)
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/fuse"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class TestFuse:
    def crossed(self, one: Running) -> dict[str, str]:
        return {row["stage"]: row["outcome"] for row in one.get("/api/costs/budgets").json()["crossed"]}

    def test_a_dry_run_by_default(self, tmp_path: Path) -> None:
        with Hook() as hook, running(tmp_path, cost_budgets={"all": Decimal(5)}, cost_fuse_url=hook.url) as one:
            tick(one)
            assert self.crossed(one) == {
                "notify": "left to alert rules",
                "page": "left to alert rules",
                "webhook": "dry run",
            }
            assert hook.bodies == []

    def test_called_once_and_until_it_says_yes(self, tmp_path: Path) -> None:
        armed = {"cost_budgets": {"all": Decimal(5)}, "cost_fuse_dry_run": False}
        with Hook() as hook:
            hook.statuses = [500, 429]
            with running(tmp_path, cost_fuse_url=hook.url, **armed) as one:
                tick(one)
                assert self.crossed(one)["webhook"] in ("owed: HTTP 500", "owed: HTTP 429")
            with running(tmp_path, cost_fuse_url=hook.url, **armed) as one:
                for _ in range(4):
                    tick(one)
                assert self.crossed(one)["webhook"] == "called: HTTP 200"
        assert len(hook.bodies) == 3
        assert len({body["id"] for body in hook.bodies}) == 1
        assert hook.bodies[0]["spent"] == 5.0


class TestPriceTags:
    def test_metrics_with_price_and_last_use(self, one: Running) -> None:
        used, idle = fresh("used"), fresh("idle")
        now = now_ms()
        for name in (used, idle):
            points = [
                buckets([1, 0], [1.0], 1.0, now - ago * 10_000, user_id=str(user))
                for ago in (3, 2, 1)
                for user in range(5)
            ]
            HTTP.export(one, "metrics", metrics(histogram(name, *points)))
        one.api("query", query=f"rate({used}_bucket[5m])")
        tick(one)
        answer = costs(one, breakdown="true")
        tags = {row["metric"]: row for row in answer["metrics"]}
        assert tags[used]["points_month"] == tags[idle]["points_month"] == 15 * 730
        assert tags[used]["series"] == 5
        assert tags[used]["usd_month"] == pytest.approx(15 * 730 * 0.25 / M, abs=1e-6)
        assert [row["label"] for row in tags[used]["labels"]] == ["user_id"]
        assert tags[used]["last_use_ms"] >= now
        unused = {row["metric"] for row in answer["unused"]}
        assert idle in unused
        assert used not in unused
        assert answer["uses_known_since"]

    def test_what_if(self, one: Running) -> None:
        name, now = fresh("visits"), now_ms()
        points = [number(1.0, now - ago * 10_000, user_id=str(user)) for ago in range(1, 13) for user in range(10)]
        HTTP.export(one, "metrics", metrics(counter(name, *points)))
        url = one.url("web_port", "/api/costs/what-if")
        answer = one.http.post(url, json={"drop_label": "user_id", "metric": f"{name}_total"}).json()
        assert answer["metrics"][0] == {
            "metric": f"{name}_total",
            "points_month": 120 * 730,
            "points_month_after": 12 * 730,
            "saves_usd_month": pytest.approx(108 * 730 * 0.25 / M, abs=1e-6),
        }
        assert answer["saves_part"] > 0.5
        refused = one.http.post(url, json={"drop": "user_id"})
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_query")


class TestReports:
    def test_on_demand(self, one: Running) -> None:
        use(one, WORKER, [12 * M], script_name="=cmd()|evil<script>")
        tick(one)
        month = costs(one)["period"]["month"]
        written = one.http.post(one.url("web_port", "/api/costs/reports"), json={"month": month})
        names = [f"costs-{month}.{kind}" for kind in ("html", "json", "csv")]
        assert (written.status_code, written.json()) == (201, {"written": names})
        assert {row["name"] for row in one.get("/api/costs/reports").json()["reports"]} == set(names)
        page = one.get(f"/api/costs/reports/{names[0]}")
        assert page.headers["content-type"].startswith("text/html")
        assert "sandbox" in page.headers["content-security-policy"]
        assert "What this monitoring costs you: $" in page.text
        assert "<svg" in page.text
        assert "<script>" not in page.text
        document = one.get(f"/api/costs/reports/{names[1]}").json()
        assert document["so_far"] == pytest.approx(5.6)
        assert sum(day["usd"] for day in document["daily"]) == pytest.approx(0.6)
        table = one.get(f"/api/costs/reports/{names[2]}").text.splitlines()
        assert table[0] == "day,product,meter,script,label,source,quantity"
        assert ",workers,requests,'=cmd()|evil<script>,,metered,12000000.0" in table[1]

    @pytest.mark.parametrize("name", ["costs-2020-01.html", "..%2Fstate.db", "state.db", "costs-2026-11.exe"])
    def test_what_is_not_there(self, gateway: Running, name: str) -> None:
        assert gateway.get(f"/api/costs/reports/{name}").status_code == 404

    def test_the_last_period_is_reported_by_itself(self, one: Running) -> None:
        costing = one.gateway.costing
        now = now_ms()
        last = costing.accounts.at(now).period
        before = last.start_ms - 5 * 86_400_000
        from_before = [("api", 3.0 * M)]
        for script, quantity in from_before:
            costing.own.add("workers", "requests", quantity, before, script)
        costing.ledger.add(costing.own.taken())
        tick(one)
        names = [row["name"] for row in one.get("/api/costs/reports").json()["reports"]]
        assert len(names) == 3
        document = one.get(f"/api/costs/reports/{next(name for name in names if name.endswith('json'))}").json()
        assert document["period"]["complete"]
        assert quantities(document) == {"workers.requests": 3 * M}


class TestCommand:
    def run(self, one: Running, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
        assert main(["costs", *arguments, "--url", one.url("web_port")]) == 0
        return capsys.readouterr().out

    def test_what_a_person_sees(self, one: Running, capsys: pytest.CaptureFixture[str]) -> None:
        use(one, WORKER, [12 * M], script_name="api")
        tick(one)
        self.run(one, capsys, "budgets", "all=6", "kv=1")
        text = self.run(one, capsys)
        for wanted in (
            "so far      $5.60   today $0.60",
            "projected",
            "What this monitoring costs you",
            "analytics_engine",
        ):
            assert wanted in text
        assert "budget all: $5.60 of $6.00, at this rate gone in" in text
        assert "limit workers.requests_per_month: used up" in text
        assert json.loads(self.run(one, capsys, "--json"))["so_far"] == pytest.approx(5.6)
        assert "budgets" not in json.loads(self.run(one, capsys, "budgets", "kv=", "--json"))["budgets"][0]
        month = costs(one)["period"]["month"]
        assert f"costs-{month}.html" in self.run(one, capsys, "report")
        assert f"costs-{month}.csv" in self.run(one, capsys, "reports")
        assert "saves $" in self.run(one, capsys, "what-if", "--interval", "10m")

    def test_prices_at_the_api(self, gateway: Running) -> None:
        assert len(gateway.get("/api/costs/prices", on="2026-12-01", plan="free").json()["prices"]) > 10
        assert gateway.get("/api/costs/prices", on="tomorrow").json()["field"] == "on"
        assert gateway.get("/api/costs/prices", plan="gold").json()["field"] == "plan"


def test_an_hour_is_counted_in_the_ledger_with_its_source(one: Running) -> None:
    use(one, WORKER, [5], script_name="api")
    tick(one)
    running_hour = one.gateway.costing._metered.running
    assert [(row.meter, row.source, row.quantity) for row in running_hour.rows] in (
        [(Meter("workers", "requests"), Source.METERED, 5.0)],
        [],  # the hour began less than a minute ago
    )


def test_cloudflares_own_export_becomes_usage(one: Running) -> None:
    """Spans and logs as Cloudflare sends them, with nothing changed in the Workers."""
    for path, body in (("/v1/traces", "worker_traces.json"), ("/v1/logs", "worker_logs.json")):
        headers = {"content-type": "application/json"}
        assert (
            one.http.post(one.url("otlp_http_port", path), content=worker_json(body), headers=headers).status_code
            == 200
        )
    spans, until = one.api("query", query="sum(traces_span_metrics_calls_total)")["result"], time.monotonic() + 10
    while not spans and time.monotonic() < until:  # readable a second after the reply
        time.sleep(0.1)
        spans = one.api("query", query="sum(traces_span_metrics_calls_total)")["result"]
    tick(one)
    used = quantities(costs(one))
    assert used.pop("workers_logs.events", 0) + used.pop("observability.ingest", 0) > 0
    events = used.pop("otlp_export.events")
    assert events >= float(spans[0]["value"][1])
    used.pop("observability.storage", None)
    assert used == {
        "workers.requests": 4,
        "workers.cpu_ms": pytest.approx(30_017),
        "d1.rows_read": 123,
        "d1.rows_written": 2,
        "kv.reads": 3,
        "kv.writes": 1,
        "r2.class_b": 1,
        "queues.operations": 51,
        "durable_objects.rows_read": 7,
        "durable_objects.rows_written": 1,
    }
