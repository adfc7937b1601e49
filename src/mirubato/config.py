"""Settings: each is declared once here and is a flag, a MIRUBATO_... variable and a key of mirubato.toml."""

import argparse
import dataclasses
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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


def _setting(default: str, parse: Callable[[str], Any], help_: str) -> Any:
    return field(default_factory=lambda: parse(default), metadata={"default": default, "parse": parse, "help": help_})


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of the gateway; durations in milliseconds, sizes in bytes."""

    data_dir: Path = _setting("./mirubato-data", Path, "where everything is stored")
    host: str = _setting("127.0.0.1", str, "address to listen on; any but loopback needs --allow-anonymous")
    grpc_port: int = _setting("4317", _port, "OTLP/gRPC")
    otlp_http_port: int = _setting("4318", _port, "OTLP/HTTP")
    web_port: int = _setting("4319", _port, "API and page; takes OTLP/HTTP too")
    allow_anonymous: bool = _setting("false", parse_bool, "let anyone who reaches the ports read and write")
    retention_raw: int = _setting("7d", parse_duration, "age of the oldest sample that is kept or accepted")
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
    query_timeout: int = _setting("30s", parse_duration, "longest time of one query")
    max_query_series: int = _setting("200000", _positive, "series that one query may touch")
    max_query_samples: int = _setting("50000000", _positive, "samples that one query may read")
    promql_experimental: bool = _setting(
        "true", parse_bool, "take what Prometheus has behind a flag: limitk, info(), fill, anchored and the like"
    )


def _fields() -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(Config)


def variable(name: str) -> str:
    """The environment variable of a setting: `retention_raw` -> `MIRUBATO_RETENTION_RAW`."""
    return "MIRUBATO_" + name.upper()


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
