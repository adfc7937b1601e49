"""Every expression of the costs dashboard has an answer once there are costs."""

import json
from decimal import Decimal
from pathlib import Path

from mirubato.costs.periods import DAY_MS, HOUR_MS
from mirubato.costs.prices import Meter
from mirubato.costs.usage import Source, Usage
from tests.costs.test_costs_api import WORKER, M, tick, use
from tests.support.gateways import running
from tests.support.requests import now_ms
from tests.web.test_grafana import DEPLOY, unanswered


def test_all_panels(tmp_path: Path) -> None:
    with running(tmp_path, cost_budgets={"all": Decimal(6)}) as one:
        hour = now_ms() // HOUR_MS * HOUR_MS
        usual = [
            Usage(hour - day * DAY_MS, Meter("workers", "requests"), 1000.0, Source.OWN, "api") for day in range(1, 5)
        ]
        one.gateway.costing.ledger.add(usual)
        use(one, WORKER, [4 * M, 8 * M], script_name="api")
        use(one, "resource.usage", [5, 5], resource="kv.reads")
        point = {"timestamp_ms": now_ms(), "index": "api", "blobs": ["x"], "doubles": [1.0], "sample_interval": 1}
        for _ in range(2):
            body = json.dumps({"dataset": "mirubato", "points": [point]})
            assert one.http.post(one.url("web_port", "/api/event-points"), content=body).status_code == 200
            tick(one)
        assert unanswered(one, DEPLOY / "dashboards" / "costs.json") == set()
