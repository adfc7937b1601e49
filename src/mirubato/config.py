"""Settings: each is declared once here and is a flag, a MIRUBATO_... variable and a key of mirubato.toml."""

import argparse
import dataclasses
import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from mirubato.errors import ConfigError

_UNITS_MS = {
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
    "y": 31_536_000_000,
}
# Each unit once, the longest first (prometheus/common, model/time.go `ParseDuration`).
_DURATION = re.compile("(?=[0-9])" + "".join(f"(?:[0-9]{{1,19}}{unit})?" for unit in ("y", *"wdhms", "ms")))
_PART = re.compile(r"([0-9]+)(ms|[smhdwy])")
# Prometheus counts in int64 nanoseconds.
_DURATION_MS_MAX = (1 << 63) // 1_000_000
_SIZE = re.compile(r"([0-9]+)\s*([KMG]i?B?|B)?", re.IGNORECASE)


def parse_duration(text: str) -> int:
    """Prometheus' duration (`5m`, `1h30m`, `7d`; a year has 365 days) -> milliseconds; ValueError otherwise."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text[:60]!r} is no duration such as 30s, 5m, 1h30m or 7d")
    duration = sum(int(number) * _UNITS_MS[unit] for number, unit in _PART.findall(text))
    if duration > _DURATION_MS_MAX:
        raise ValueError(f"{text!r} is longer than 292 years")
    return duration


def parse_size(text: str) -> int:
    """`64MiB`, `500kB` or plain bytes -> bytes; one K is 1024, as in every other limit here."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text[:60]!r} is no size such as 64MiB")
    power = "BKMG".index((match[2] or "B")[0].upper())
    return int(match[1]) << (10 * power)


def parse_bool(text: str) -> bool:
    """`true`/`false`, `1`/`0`, `yes`/`no`, `on`/`off`."""
    value = text.strip().lower()
    if value in ("1", "true", "yes", "on"):
        return True
    if value in ("0", "false", "no", "off", ""):
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def parse_list(text: str) -> tuple[str, ...]:
    """Comma-separated words."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"{text[:60]!r} is no whole number") from error


def _port(text: str) -> int:
    port = _whole(text)
    if not 0 <= port <= 65_535:
        raise ValueError("a port is between 0 (any free one) and 65535")
    return port


def _positive(text: str) -> int:
    number = _whole(text)
    if number <= 0:
        raise ValueError("must be greater than 0")
    return number


def _body_size(text: str) -> int:
    size = parse_size(text)
    if not 0 < size < 1 << 31:
        raise ValueError("must be more than 0 and less than 2GiB, which is the most that protobuf and gRPC can carry")
    return size


def _file(text: str) -> Path | None:
    return Path(text) if text else None


_TOKEN_CHARS_MIN = 24


def _secret_token(text: str) -> str:
    """Its message never repeats it."""
    if text and (len(text) < _TOKEN_CHARS_MIN or not text.isascii() or not text.isprintable() or " " in text):
        raise ValueError(f"a token has at least {_TOKEN_CHARS_MIN} printable ASCII characters, and no spaces")
    return text


def _fraction(text: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise ValueError(f"{text[:60]!r} is no number") from error
    if not 0 <= number <= 1:
        raise ValueError("must be between 0 and 1")
    return number


def parse_rates(text: str) -> Mapping[str, float]:
    """`api=0.05, *=0.1` -> rates by service; ValueError for one that is not above 0 and at most 1."""
    rates: dict[str, float] = {}
    for part in parse_list(text):
        name, equals, rate = part.rpartition("=")
        rates[name.strip()] = _fraction(rate.strip()) if equals else 0.0
        if not name.strip() or not rates[name.strip()]:
            raise ValueError(f"{part[:60]!r} is no SERVICE=RATE with a rate above 0 and at most 1")
    return rates


_BOUNDS_MAX = 100


def parse_bounds(text: str) -> tuple[float, ...]:
    """`0.1, 0.5, 1` (seconds) -> bounds; ValueError unless they are finite, above 0 and rising."""
    bounds = tuple(float(part) for part in parse_list(text))
    if not 1 <= len(bounds) <= _BOUNDS_MAX:
        raise ValueError(f"between 1 and {_BOUNDS_MAX} bounds")
    if not all(0 < bound < math.inf for bound in bounds) or list(bounds) != sorted(set(bounds)):
        raise ValueError("bounds are seconds above 0, each greater than the one before")
    return bounds


def _positive_size(text: str) -> int:
    size = parse_size(text)
    if size <= 0:
        raise ValueError("must be greater than 0")
    return size


def _word(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*", text):
        raise ValueError(f"{text[:60]!r} is not letters, digits and _")
    return text


def _positive_duration(text: str) -> int:
    duration = parse_duration(text)
    if duration <= 0:
        raise ValueError("must be longer than 0")
    return duration


def parse_channels(text: str) -> tuple[str, ...]:
    """`name=address` words with spaces between them, or commas that another name follows."""
    return tuple(word for word in re.split(r"\s+|,\s*(?=[\w-]+=\S)", text.strip()) if word)


def _plan(text: str) -> str:
    if text not in ("free", "paid"):
        raise ValueError(f"{text[:60]!r} is neither free nor paid")
    return text


def _day_of_month(text: str) -> int:
    day = _whole(text)
    if not 1 <= day <= 31:
        raise ValueError("must be between 1 and 31")
    return day


def parse_budgets(text: str) -> Mapping[str, Decimal]:
    """`all=20, workers=7.50` -> USD by product; ValueError for what is no sum above 0."""
    budgets: dict[str, Decimal] = {}
    for part in parse_list(text):
        product, _, usd = part.partition("=")
        try:
            budgets[product.strip()] = Decimal(usd.strip())
        except InvalidOperation as error:
            raise ValueError(f"{part[:60]!r} is no PRODUCT=USD") from error
        if not product.strip() or not budgets[product.strip()].is_finite() or budgets[product.strip()] <= 0:
            raise ValueError(f"{part[:60]!r} is no PRODUCT=USD with USD above 0")
    return budgets


def parse_stages(text: str) -> tuple[float, ...]:
    """`0.8, 1, 1.2` -> parts of a budget at which to notify, to page, to call the webhook; each may not be lower."""
    try:
        stages = tuple(float(part) for part in parse_list(text))
    except ValueError as error:
        raise ValueError(f"{text[:60]!r}: three numbers such as 0.8, 1, 1.2") from error
    if len(stages) != 3 or not all(0 < stage < math.inf for stage in stages) or list(stages) != sorted(stages):
        raise ValueError("three parts of a budget, each at least as large as the one before")
    return stages


def _address(text: str) -> str:
    """The message does not repeat it: addresses of receivers are secrets."""
    if text and not re.match(r"[a-z][a-z+]*://[^/\s]", text):
        raise ValueError("is no address such as https://host/path")
    return text.rstrip("/")


def _duration_or_none(text: str) -> int:
    return 0 if text.strip() == "0" else parse_duration(text)


def _setting(default: str, parse: Callable[[str], Any], help_: str, *, secret: bool = False, variable: str = "") -> Any:
    """A `secret` is in no text that is made of the settings; `variable` where it is not MIRUBATO_ and the key."""
    metadata = {"default": default, "parse": parse, "help": help_, "secret": secret, "variable": variable}
    return field(default_factory=lambda: parse(default), metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of the gateway; durations in milliseconds, sizes in bytes."""

    data_dir: Path = _setting("./mirubato-data", Path, "where everything is stored")
    host: str = _setting("127.0.0.1", str, "address to listen on; any but loopback needs a token, or --allow-anonymous")
    grpc_port: int = _setting("4317", _port, "OTLP/gRPC")
    otlp_http_port: int = _setting("4318", _port, "OTLP/HTTP")
    web_port: int = _setting("4319", _port, "API and page; takes OTLP/HTTP too")
    allow_anonymous: bool = _setting("false", parse_bool, "let anyone who reaches the ports read and write")
    token: str = _setting("", str, "what commands such as query send to the gateway", secret=True)
    ingest_token: str = _setting("", _secret_token, "a token that may send, beside those of state.db", secret=True)
    read_token: str = _setting("", _secret_token, "the same, that may ask", secret=True)
    admin_token: str = _setting("", _secret_token, "the same, that may do everything", secret=True)
    tls_cert: Path | None = _setting(
        "", _file, "certificate chain (PEM) of all three ports; read again when it changes"
    )
    tls_key: Path | None = _setting("", _file, "its private key (PEM)")
    cors_origins: tuple[str, ...] = _setting("", parse_list, "pages elsewhere that may use the HTTP ports, or *")
    allowed_hosts: tuple[str, ...] = _setting("", parse_list, "names of this machine that open ports are reached by")
    retention_raw: int = _setting("7d", parse_duration, "age of the oldest sample that is kept or accepted")
    retention_hourly: int = _setting("30d", _duration_or_none, "how long hourly rollups stay; 0: none are made")
    retention_daily: int = _setting("1y", _duration_or_none, "how long daily rollups stay; 0: none are made")
    max_storage_bytes: int = _setting(
        "0", parse_size, "size of the samples file, past which the oldest samples become rollups early; 0: no bound"
    )
    rollup_metrics: tuple[str, ...] = _setting(
        "http_server_request_duration_seconds_count,http_server_request_duration_seconds_sum,"
        "http_server_duration_milliseconds_count,http_server_duration_milliseconds_sum,"
        "traces_span_metrics_calls_total,cloudflare_worker_requests_total,cloudflare_worker_errors_total,queue_depth",
        parse_list,
        "metrics whose hours and days are also plain rows (tables rollup_hourly, rollup_daily)",
    )
    future_max: int = _setting("10m", parse_duration, "how far ahead of the clock a sample may be")
    max_series: int = _setting("1000000", _positive, "series with a sample in the last hour")
    max_new_series_per_minute: int = _setting("100000", _positive, "series first seen within one minute")
    max_labels: int = _setting("64", _positive, "labels of one series, its name included")
    max_label_name_bytes: int = _setting("512", _positive, "length of a label name")
    max_label_value_bytes: int = _setting("4096", _positive, "length of a label value or metric name")
    max_body_bytes: int = _setting("64MiB", _body_size, "size of a request, before and after inflating")
    start_time_zero_samples: bool = _setting(
        "true", parse_bool, "store a zero at the start of a counter, so that its first increase shows"
    )
    promote_resource_attributes: tuple[str, ...] = _setting(
        "service.name", parse_list, "resource attributes that become labels of every series"
    )
    seal_interval: int = _setting("5m", parse_duration, "age at which unsealed samples are compressed into blocks")
    seal_samples: int = _setting("500000", _positive, "number of unsealed samples at which they are compressed")
    cloudflare_account_id: str = _setting("", str, "account whose D1 and analytics are used")
    cloudflare_api_token: str = _setting(
        "", str, "token with D1 Edit (for the mirror) and Account Analytics Read (for costs)", secret=True
    )
    cloudflare_api_url: str = _setting(
        "https://api.cloudflare.com/client/v4", str, "base address of Cloudflare's API, for proxies and tests"
    )
    d1_database_id: str = _setting("", str, "D1 database that mirrors state.db; an empty disk is restored from it")
    d1_database_id_staging: str = _setting("", str, "what `mirubato migrate --env staging` migrates")
    d1_mirror_interval: int = _setting("10s", _positive_duration, "time between two visits of the mirror")
    clickhouse_url: str = _setting("", str, "HTTP interface of a ClickHouse that event points are brought to")
    clickhouse_database: str = _setting("mirubato", _word, "its database, made if need be")
    clickhouse_user: str = _setting("", str, "who writes and asks there")
    clickhouse_password: str = _setting("", str, "the password", secret=True)
    max_event_points: int = _setting(
        "1000000", _positive, "event points kept as they came, for the local Analytics Engine"
    )
    span_metrics_dimensions: tuple[str, ...] = _setting(
        "", parse_list, "attributes of spans that become labels of the metrics made of them, such as http.route"
    )
    span_metrics_buckets: tuple[float, ...] = _setting(
        "0.005,0.01,0.025,0.05,0.075,0.1,0.25,0.5,0.75,1,2.5,5,7.5,10",
        parse_bounds,
        "bucket bounds (seconds) of durations in the metrics made of spans",
    )
    span_metrics_max_sets: int = _setting(
        "1000", _positive, "sets of labels of one service in a metric made of spans or logs; the rest is `overflow`"
    )
    span_sampling_rates: Mapping[str, float] = _setting(
        "", parse_rates, "rates of head sampling that spans do not tell of, such as api=0.05,*=0.1"
    )
    log_sampling_rates: Mapping[str, float] = _setting("", parse_rates, "the same for log records")
    log_level_fields: tuple[str, ...] = _setting(
        "level,severity", parse_list, "fields of a JSON body that have a log record's severity, the first that is one"
    )
    log_number_fields: tuple[str, ...] = _setting(
        "", parse_list, "fields of a JSON body whose numbers are added up, such as duration_ms or usage.tokens"
    )
    query_timeout: int = _setting("30s", parse_duration, "longest time of one query")
    max_query_series: int = _setting("200000", _positive, "series that one query may touch")
    max_query_samples: int = _setting("50000000", _positive, "samples that one query may read")
    traces_retention: int = _setting("7d", _positive_duration, "for how long kept traces and error logs stay")
    traces_max_bytes: int = _setting(
        "1GiB", _positive_size, "size of the kept traces and error logs; the oldest go first, errors last"
    )
    traces_slow: int = _setting("1s", _positive_duration, "a trace with a span this long is kept as slow")
    traces_sample_rate: float = _setting(
        "0.05", _fraction, "part of the other traces that is kept, where no sampler has picked already"
    )
    traces_max_per_minute: int = _setting(
        "600", _positive, "slow traces, and sampled traces, kept in a minute; errors have no such limit"
    )
    traces_decision_time: int = _setting("30s", parse_duration, "for how long the spans of a trace wait for an error")
    traces_buffer_bytes: int = _setting("64MiB", parse_size, "size of the spans that wait; the oldest traces go first")
    probes: tuple[str, ...] = _setting(
        "", parse_list, "addresses to check: URLs, or name=URL with commas between them", secret=True
    )
    probe_interval: int = _setting("30s", _positive_duration, "time from one check of an address to the next")
    probe_timeout: int = _setting("10s", _positive_duration, "longest time of one check, redirects included")
    rule_files: tuple[str, ...] = _setting(
        "", parse_list, "Prometheus rule files, as paths or patterns; read again when they change"
    )
    evaluation_interval: int = _setting("15s", _positive_duration, "how often alert and recording rules are evaluated")
    alert_group_wait: int = _setting(
        "0s", parse_duration, "how long the first message of a group waits for more alerts"
    )
    alert_repeat_interval: int = _setting("4h", _positive_duration, "when a message about what still fires is repeated")
    alert_group_by: tuple[str, ...] = _setting(
        "alertname, service_name", parse_list, "labels whose alerts share messages"
    )
    alert_inhibit_by_severity: bool = _setting(
        "true", parse_bool, "hold warnings back while something more severe fires about the same"
    )
    quiet_hours: str = _setting(
        "", str, "windows without messages: Mon-Fri 22:00-07:00 Europe/Berlin {severity!=critical}; Sat,Sun 00:00-24:00"
    )
    external_url: str = _setting("", _address, "this gateway's address as people reach it, for links in messages")
    default_channels: tuple[str, ...] = _setting(
        "", parse_list, "where rules without channels send: names; empty: every channel that is set up"
    )
    slack_webhook_url: str = _setting(
        "", _address, "channel slack: an incoming webhook", secret=True, variable="SLACK_WEBHOOK_URL"
    )
    slack_bot_token: str = _setting(
        "", str, "channel slack: a bot token, which can edit in place", secret=True, variable="SLACK_BOT_TOKEN"
    )
    slack_channel: str = _setting("", str, "where the bot posts, such as #alerts")
    slack_api_url: str = _setting("https://slack.com/api", _address, "Slack's API, for tests and proxies")
    pagerduty_key: str = _setting(
        "", str, "channel pagerduty: the integration key of a service", secret=True, variable="PAGERDUTY_KEY"
    )
    pagerduty_url: str = _setting("https://events.pagerduty.com", _address, "PagerDuty, for tests and proxies")
    email_to: tuple[str, ...] = _setting("", parse_list, "channel email: who gets it")
    email_from: str = _setting("", str, "its sender [the first recipient]")
    smtp_url: str = _setting("", _address, "how it is sent: smtp://user:password@host:port, or smtps://", secret=True)
    email_api_key: str = _setting("", str, "or by Resend's API, with this key", secret=True, variable="EMAIL_API_KEY")
    email_api_url: str = _setting("https://api.resend.com", _address, "Resend, for tests and proxies")
    webhook_url: str = _setting("", _address, "channel webhook: takes Alertmanager's payload", secret=True)
    alertmanager_url: str = _setting("", _address, "channel alertmanager: the address of a real one", secret=True)
    channels: tuple[str, ...] = _setting(
        "",
        parse_channels,
        "more channels: name=https://..., name=slack+https://..., name=any address of apprise",
        secret=True,
    )
    cloudflare_plan: str = _setting("paid", _plan, "plan of the Workers account: free or paid")
    billing_anchor_day: int = _setting("1", _day_of_month, "day of the month on which a billing period begins")
    cost_prices: str = _setting("", str, "TOML file with price rows, laid over those of the package")
    cost_budgets: Mapping[str, Decimal] = _setting(
        "", parse_budgets, "USD a billing period, such as all=20,workers=10; the API's budgets win"
    )
    cost_budget_stages: tuple[float, ...] = _setting(
        "0.8,1,1", parse_stages, "parts of a budget at which to notify, to page, to call cost_fuse_url"
    )
    cost_fuse_url: str = _setting("", _address, "webhook to call once a budget's last stage is reached", secret=True)
    cost_fuse_dry_run: bool = _setting("true", parse_bool, "write the webhook's call down instead of making it")
    cost_poll_interval: int = _setting(
        "15m", _positive_duration, "how often Cloudflare's analytics are asked for usage"
    )
    report_store: str = _setting("", str, "where cost reports are kept: s3://bucket/prefix [reports/ in data_dir]")
    s3_endpoint: str = _setting("", _address, "of an S3 store, such as R2's https://ACCOUNT.r2.cloudflarestorage.com")
    s3_region: str = _setting("auto", str, "its region; R2 has auto")
    s3_access_key_id: str = _setting("", str, "its access key", secret=True)
    s3_secret_access_key: str = _setting("", str, "the secret of that key", secret=True)
    promql_experimental: bool = _setting(
        "true", parse_bool, "take what Prometheus has behind a flag: limitk, info(), fill, anchored and the like"
    )


def _fields() -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(Config)


def variable(name: str) -> str:
    """The environment variable of a setting: `retention_raw` -> `MIRUBATO_RETENTION_RAW`, unless it has its own."""
    named = next((one.metadata["variable"] for one in _fields() if one.name == name), "")
    return named or "MIRUBATO_" + name.upper()


def flag(name: str) -> str:
    """The command-line flag of a setting: `grpc_port` -> `--grpc-port`."""
    return "--" + name.replace("_", "-")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give `parser` --config and a flag for each setting."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="settings as TOML (default: ./mirubato.toml if there is one)",
    )
    for setting in _fields():
        help_ = f"{setting.metadata['help']} [{setting.metadata['default']}]"
        if setting.metadata["parse"] is parse_bool:
            parser.add_argument(flag(setting.name), nargs="?", const="true", metavar="BOOL", help=help_)
        else:
            parser.add_argument(flag(setting.name), metavar="VALUE", help=help_)


def _from_file(path: Path | None) -> dict[str, str]:
    if path is None:
        path = Path("mirubato.toml")
        if not path.is_file():
            return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    unknown = table.keys() - {setting.name for setting in _fields()}
    if unknown:
        raise ConfigError(f"{path}: no such setting: {', '.join(sorted(unknown))}")
    for name, value in table.items():
        if isinstance(value, dict):
            raise ConfigError(f"{path}: {name} is a table; settings are plain keys such as {name} = ...")
    return {name: ",".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in table.items()}


def _secret_or_plain(environ: Mapping[str, str], name: str) -> str | None:
    """The variable, or the content of the file that <variable>_FILE names."""
    file = environ.get(variable(name) + "_FILE")
    if file is not None:
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{variable(name)}_FILE: {error}") from error
    return environ.get(variable(name))


def load(flags: argparse.Namespace | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Flags over environment over file over defaults; ConfigError names the setting that is wrong."""
    environ = os.environ if environ is None else environ
    given = vars(flags) if flags is not None else {}
    file = _from_file(given.get("config"))
    values: dict[str, Any] = {}
    for setting in _fields():
        text = given.get(setting.name)
        text = _secret_or_plain(environ, setting.name) if text is None else text
        text = file.get(setting.name) if text is None else text
        if text is not None:
            values[setting.name] = _parsed(setting, text)
    return Config(**values)


def _parsed(setting: dataclasses.Field[Any], text: str) -> Any:
    try:
        return setting.metadata["parse"](text)
    except ValueError as error:
        raise ConfigError(f"{setting.name} ({flag(setting.name)}, {variable(setting.name)}): {error}") from error


def describe() -> Sequence[tuple[str, str, str, str]]:
    """(key, variable, default, help) of each setting, for the docs and their test."""
    return [(s.name, variable(s.name), s.metadata["default"], s.metadata["help"]) for s in _fields()]


def secrets_of(config: Config) -> list[str]:
    """The values of all settings that nobody may read."""
    values = [getattr(config, setting.name) for setting in _fields() if setting.metadata["secret"]]
    return [str(value) for value in values if value]


def secrets_in(environ: Mapping[str, str]) -> list[str]:
    """What stands in the variables of settings that nobody may read, whether it can be used or not."""
    return [environ[variable(s.name)] for s in _fields() if s.metadata["secret"] and environ.get(variable(s.name))]


def page() -> str:
    """docs/SETTINGS.md, which a test holds to this module."""
    rows = [
        f"| `{key}` | `{flag(key)}` | `{name}` | {f'`{default}`' if default else ''} | {help_} |"
        for key, name, default, help_ in describe()
    ]
    return "\n".join((_PAGE_HEAD, *rows, ""))


_PAGE_HEAD = """\
# Settings

Each setting of `mirubato gateway` is a flag, an environment variable and a key of `mirubato.toml`; of several, the flag
wins, then the variable, then the file. The file is `./mirubato.toml` where there is one, or what `--config FILE` names.
The name of each variable with `_FILE` behind it names a file to read the value from, for secrets that are mounted.

Durations are Prometheus' (`30s`, `5m`, `1h30m`, `7d`), sizes are bytes or `64MiB` (1 K is 1024), switches are `true` or
`false`, lists are words with commas between them (in the file also TOML lists).

| key | flag | variable | default | what it is |
|---|---|---|---|---|"""


def address(host: str, port: int) -> str:
    """Host and port as they stand in a URL: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
