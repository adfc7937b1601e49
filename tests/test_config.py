"""Settings: each as flag, variable and key of the file; which wins; and what is refused."""

import argparse
import dataclasses
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirubato.config import (
    Config,
    add_flags,
    address,
    describe,
    flag,
    load,
    page,
    parse_bool,
    parse_duration,
    parse_list,
    parse_size,
    variable,
)
from mirubato.errors import ConfigError

DAY_MS = 86_400_000

# Another value than the default for each setting: as text, and as it is read.
OTHERS: dict[str, tuple[str, Any]] = {
    "data_dir": ("/var/lib/mirubato", Path("/var/lib/mirubato")),
    "host": ("::1", "::1"),
    "grpc_port": ("0", 0),
    "otlp_http_port": ("14318", 14318),
    "web_port": ("65535", 65535),
    "allow_anonymous": ("true", True),
    "token": ("t" * 24, "t" * 24),
    "ingest_token": ("i" * 24, "i" * 24),
    "read_token": ("r" * 24, "r" * 24),
    "admin_token": ("a" * 24, "a" * 24),
    "tls_cert": ("cert.pem", Path("cert.pem")),
    "tls_key": ("key.pem", Path("key.pem")),
    "cors_origins": ("https://a.example, *", ("https://a.example", "*")),
    "allowed_hosts": ("a.example,b.example", ("a.example", "b.example")),
    "retention_raw": ("30d", 30 * DAY_MS),
    "retention_hourly": ("2d", 2 * DAY_MS),
    "retention_daily": ("3d", 3 * DAY_MS),
    "max_storage_bytes": ("1GiB", 1 << 30),
    "rollup_metrics": ("a_total, b", ("a_total", "b")),
    "future_max": ("1h30m", 5_400_000),
    "max_series": ("5", 5),
    "max_new_series_per_minute": ("6", 6),
    "max_labels": ("7", 7),
    "max_label_name_bytes": ("8", 8),
    "max_label_value_bytes": ("9", 9),
    "max_body_bytes": ("1MiB", 1 << 20),
    "start_time_zero_samples": ("off", False),
    "promote_resource_attributes": ("service.name, cloud.region", ("service.name", "cloud.region")),
    "seal_interval": ("90s", 90_000),
    "seal_samples": ("10", 10),
    "cloudflare_account_id": ("account", "account"),
    "cloudflare_api_token": ("secret", "secret"),
    "cloudflare_api_url": ("http://127.0.0.1:6", "http://127.0.0.1:6"),
    "d1_database_id": ("one", "one"),
    "d1_database_id_staging": ("two", "two"),
    "d1_mirror_interval": ("1m", 60_000),
    "clickhouse_url": ("http://127.0.0.1:7", "http://127.0.0.1:7"),
    "clickhouse_database": ("mine", "mine"),
    "clickhouse_user": ("me", "me"),
    "clickhouse_password": ("secret", "secret"),
    "max_event_points": ("14", 14),
    "span_metrics_dimensions": ("http.route, tenant", ("http.route", "tenant")),
    "span_metrics_buckets": ("0.1, 1, 10", (0.1, 1.0, 10.0)),
    "span_metrics_max_sets": ("13", 13),
    "span_sampling_rates": ("api=0.05, *=0.5", {"api": 0.05, "*": 0.5}),
    "log_sampling_rates": ("web=1", {"web": 1.0}),
    "log_level_fields": ("lvl", ("lvl",)),
    "log_number_fields": ("duration_ms,usage.tokens", ("duration_ms", "usage.tokens")),
    "query_timeout": ("250ms", 250),
    "max_query_series": ("11", 11),
    "max_query_samples": ("12", 12),
    "traces_retention": ("3d", 3 * DAY_MS),
    "traces_max_bytes": ("100MiB", 100 << 20),
    "traces_slow": ("250ms", 250),
    "traces_sample_rate": ("0.5", 0.5),
    "traces_max_per_minute": ("14", 14),
    "traces_decision_time": ("1m", 60_000),
    "traces_buffer_bytes": ("1MiB", 1 << 20),
    "probes": ("https://a.example/, b=http://c/", ("https://a.example/", "b=http://c/")),
    "probe_interval": ("1m", 60_000),
    "probe_timeout": ("2s", 2000),
    "rule_files": ("a.yml, b/*.yml", ("a.yml", "b/*.yml")),
    "evaluation_interval": ("5s", 5_000),
    "alert_group_wait": ("30s", 30_000),
    "alert_repeat_interval": ("1h", 3_600_000),
    "alert_group_by": ("alertname", ("alertname",)),
    "alert_inhibit_by_severity": ("off", False),
    "quiet_hours": ("22:00-06:00", "22:00-06:00"),
    "external_url": ("https://here.example/", "https://here.example"),
    "default_channels": ("slack, mine", ("slack", "mine")),
    "slack_webhook_url": ("https://hooks.example/x", "https://hooks.example/x"),
    "slack_bot_token": ("xoxb-1", "xoxb-1"),
    "slack_channel": ("#alerts", "#alerts"),
    "slack_api_url": ("http://127.0.0.1:1", "http://127.0.0.1:1"),
    "pagerduty_key": ("key", "key"),
    "pagerduty_url": ("http://127.0.0.1:2", "http://127.0.0.1:2"),
    "email_to": ("a@b.example, c@d.example", ("a@b.example", "c@d.example")),
    "email_from": ("Me <a@b.example>", "Me <a@b.example>"),
    "smtp_url": ("smtp://a:b@c.example:25", "smtp://a:b@c.example:25"),
    "email_api_key": ("re_1", "re_1"),
    "email_api_url": ("http://127.0.0.1:3", "http://127.0.0.1:3"),
    "webhook_url": ("http://127.0.0.1:4/x?y=z", "http://127.0.0.1:4/x?y=z"),
    "alertmanager_url": ("http://127.0.0.1:5", "http://127.0.0.1:5"),
    "channels": ("a=https://h.example/x b=mailto:c@d.example", ("a=https://h.example/x", "b=mailto:c@d.example")),
    "cloudflare_plan": ("free", "free"),
    "billing_anchor_day": ("31", 31),
    "cost_prices": ("prices.toml", "prices.toml"),
    "cost_budgets": ("all=20, workers=7.50", {"all": Decimal(20), "workers": Decimal("7.50")}),
    "cost_budget_stages": ("0.5,0.9,1", (0.5, 0.9, 1.0)),
    "cost_fuse_url": ("https://a.example/fuse", "https://a.example/fuse"),
    "cost_fuse_dry_run": ("no", False),
    "cost_poll_interval": ("5m", 300_000),
    "report_store": ("s3://reports", "s3://reports"),
    "s3_endpoint": ("https://s3.example/", "https://s3.example"),
    "s3_region": ("eu", "eu"),
    "s3_access_key_id": ("key", "key"),
    "s3_secret_access_key": ("secret", "secret"),
    "promql_experimental": ("off", False),
}

each_setting = pytest.mark.parametrize(("name", "text", "value"), [(name, *one) for name, one in OTHERS.items()])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No mirubato.toml but the test's own."""
    monkeypatch.chdir(tmp_path)


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return parser.parse_args(arguments)


def test_others_has_every_setting() -> None:
    assert list(OTHERS) == [setting.name for setting in dataclasses.fields(Config)]
    defaults = Config()
    assert [name for name, (_, value) in OTHERS.items() if getattr(defaults, name) == value] == []


def test_the_defaults_of_the_contract() -> None:
    config = load(environ={})
    assert config == Config()
    assert (config.host, config.grpc_port, config.otlp_http_port, config.web_port) == ("127.0.0.1", 4317, 4318, 4319)
    assert (config.data_dir, config.retention_raw) == (Path("mirubato-data"), 7 * DAY_MS)
    assert (config.future_max, config.max_body_bytes) == (600_000, 64 << 20)
    assert (config.max_series, config.max_new_series_per_minute) == (1_000_000, 100_000)
    assert config.max_query_series >= 100_000


class TestWhereItStands:
    @each_setting
    def test_a_flag(self, name: str, text: str, value: Any) -> None:
        assert getattr(load(parsed([flag(name), text]), {}), name) == value

    @each_setting
    def test_a_variable(self, name: str, text: str, value: Any) -> None:
        assert getattr(load(environ={variable(name): text}), name) == value

    @each_setting
    def test_a_key_of_the_file(self, name: str, text: str, value: Any) -> None:
        Path("mirubato.toml").write_text(f'{name} = "{text}"', encoding="utf-8")
        assert getattr(load(environ={}), name) == value

    @each_setting
    def test_a_file_that_a_variable_names(self, name: str, text: str, value: Any, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text(f"{text}\n", encoding="utf-8")
        assert getattr(load(environ={f"{variable(name)}_FILE": str(secret)}), name) == value

    def test_names(self) -> None:
        assert (flag("grpc_port"), variable("grpc_port")) == ("--grpc-port", "MIRUBATO_GRPC_PORT")

    def test_the_flag_wins_then_the_variable_then_the_file(self, tmp_path: Path) -> None:
        named = tmp_path / "named.toml"
        named.write_text("web_port = 1\n", encoding="utf-8")
        Path("mirubato.toml").write_text("web_port = 2\n", encoding="utf-8")
        environ = {"MIRUBATO_WEB_PORT": "3"}
        assert load(parsed(["--web-port", "4"]), environ).web_port == 4
        assert load(parsed([]), environ).web_port == 3
        assert load(parsed([]), {}).web_port == 2
        assert load(parsed(["--config", str(named)]), {}).web_port == 1

    def test_a_file_of_a_variable_wins_over_the_variable(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("1", encoding="utf-8")
        environ = {"MIRUBATO_WEB_PORT": "3", "MIRUBATO_WEB_PORT_FILE": str(secret)}
        assert load(environ=environ).web_port == 1

    def test_toml_has_numbers_switches_and_lists_of_its_own(self) -> None:
        text = 'web_port = 8\nallow_anonymous = true\npromote_resource_attributes = ["a.b", "c"]\n'
        Path("mirubato.toml").write_text(text, encoding="utf-8")
        config = load(environ={})
        assert (config.web_port, config.allow_anonymous) == (8, True)
        assert config.promote_resource_attributes == ("a.b", "c")

    @pytest.mark.parametrize(("arguments", "value"), [([], True), (["true"], True), (["no"], False)])
    def test_a_switch_needs_no_value(self, arguments: list[str], value: bool) -> None:
        assert load(parsed(["--allow-anonymous", *arguments]), {}).allow_anonymous is value

    def test_the_real_environment_is_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MIRUBATO_WEB_PORT", "99")
        assert load().web_port == 99

    def test_a_secret_may_be_any_text(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text(" a b \n", encoding="utf-8")
        assert load(environ={"MIRUBATO_HOST_FILE": str(secret)}).host == "a b"


REFUSED = [
    ("grpc_port", "x", "'x' is no whole number"),
    ("grpc_port", "-1", "a port is between 0 (any free one) and 65535"),
    ("grpc_port", "65536", "a port is between 0 (any free one) and 65535"),
    ("grpc_port", "", "'' is no whole number"),
    ("max_series", "0", "must be greater than 0"),
    ("max_series", "1.5", "'1.5' is no whole number"),
    ("allow_anonymous", "maybe", "'maybe' is neither true nor false"),
    ("retention_raw", "7 days", "'7 days' is no duration such as 30s, 5m, 1h30m or 7d"),
    ("retention_raw", "7", "'7' is no duration"),
    ("max_body_bytes", "64 MiBs", "'64 MiBs' is no size such as 64MiB"),
    ("max_body_bytes", "0", "must be more than 0 and less than 2GiB"),
    ("traces_sample_rate", "1.5", "must be between 0 and 1"),
    ("traces_sample_rate", "all", "'all' is no number"),
    ("traces_slow", "0s", "must be longer than 0"),
    ("traces_max_bytes", "0", "must be greater than 0"),
    ("max_body_bytes", "2GiB", "must be more than 0 and less than 2GiB"),
]


class TestRefusals:
    @pytest.mark.parametrize(("name", "text", "told"), REFUSED)
    def test_an_error_names_the_setting_in_all_its_forms(self, name: str, text: str, told: str) -> None:
        with pytest.raises(ConfigError) as refused:
            load(environ={variable(name): text})
        assert str(refused.value).startswith(f"{name} ({flag(name)}, {variable(name)}): {told}")

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("web_prot = 1", "no such setting: web_prot"),
            ("a = 1\nb = 2", "no such setting: a, b"),
            ("[web]\nport = 1", "no such setting: web"),
            ("[host]\nname = 1", "host is a table"),
            ("web_port = ", "Invalid value"),
            ("web_port = 1.5", "'1.5' is no whole number"),
            ("web_port = true", "'True' is no whole number"),
        ],
    )
    def test_a_bad_file(self, text: str, told: str) -> None:
        Path("mirubato.toml").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=told):
            load(environ={})

    def test_a_file_that_is_not_there(self) -> None:
        with pytest.raises(ConfigError, match=r"nothing\.toml: .*No such file"):
            load(parsed(["--config", "nothing.toml"]), {})

    def test_a_file_that_is_no_text(self) -> None:
        Path("mirubato.toml").write_bytes(b"\xff\xfe")
        with pytest.raises(ConfigError, match=r"mirubato\.toml"):
            load(environ={})

    @pytest.mark.parametrize("content", [None, b"\xff\xfe"])
    def test_a_secret_that_cannot_be_read(self, content: bytes | None, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        if content is not None:
            secret.write_bytes(content)
        with pytest.raises(ConfigError, match="MIRUBATO_HOST_FILE: "):
            load(environ={"MIRUBATO_HOST_FILE": str(secret)})


class TestParsers:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("0s", 0),
            ("1ms", 1),
            ("1s", 1000),
            ("5m", 300_000),
            ("5ms", 5),
            ("1h", 3_600_000),
            ("7d", 7 * DAY_MS),
            ("2w", 14 * DAY_MS),
            ("1y", 365 * DAY_MS),
            ("1h30m", 5_400_000),
            ("1y2w3d4h5m6s7ms", (365 + 14 + 3) * DAY_MS + 4 * 3_600_000 + 306_007),
            ("292y", 292 * 365 * DAY_MS),
        ],
    )
    def test_durations(self, text: str, expected: int) -> None:
        assert parse_duration(text) == expected

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "5",
            "m",
            "5 m",
            "-5m",
            "1.5h",
            "5M",
            "30m1h",
            "1h1h",
            "1s1s",
            "٣s",
            "293y",
            "9" * 19 + "y",
            "9" * 20 + "s",
        ],
    )
    def test_what_is_no_duration(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"is no duration|292 years"):
            parse_duration(text)

    @given(st.text(alphabet="0123456789ywdhms ."))
    def test_any_text_is_a_duration_or_not(self, text: str) -> None:
        try:
            duration = parse_duration(text)
        except ValueError:
            return
        assert 0 <= duration < 1 << 53

    @pytest.mark.parametrize(
        ("text", "expected"),
        [("0", 0), ("7", 7), ("7B", 7), ("64MiB", 64 << 20), ("64 mb", 64 << 20), ("2k", 2048), ("1G", 1 << 30)],
    )
    def test_sizes(self, text: str, expected: int) -> None:
        assert parse_size(text) == expected

    @pytest.mark.parametrize("text", ["", "M", "-1", "1.5M", "1T", "1 M B", "٣"])
    def test_what_is_no_size(self, text: str) -> None:
        with pytest.raises(ValueError, match="is no size such as 64MiB"):
            parse_size(text)

    def test_switches_and_lists(self) -> None:
        assert [parse_bool(text) for text in ("1", "Yes", " ON ", "true", "0", "no", "off", "False", "")] == (
            [True] * 4 + [False] * 5
        )
        assert (parse_list(""), parse_list("a"), parse_list(" a ,, b ")) == ((), ("a",), ("a", "b"))

    def test_addresses(self) -> None:
        assert (address("localhost", 1), address("::1", 2)) == ("localhost:1", "[::1]:2")


def test_every_setting_is_described() -> None:
    described = describe()
    assert [key for key, *_ in described] == list(OTHERS)
    assert all(help_ for *_, help_ in described)
    assert all(f"`{key}` | `{flag(key)}` | `{name}`" in page() for key, name, *_ in described)
