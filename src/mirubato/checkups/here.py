"""What `mirubato doctor` can see on this machine: settings, disk, clock, ports, certificate."""

import ctypes
import ctypes.util
import glob
import os
import shutil
import socket
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mirubato.access import ledger
from mirubato.checkups.certificates import ends_s
from mirubato.checkups.finding import Finding, ok, problem, warning
from mirubato.config import Config, address
from mirubato.database.state import FILE, StateStore
from mirubato.errors import ConfigError, MirubatoError
from mirubato.limits import DISK_FREE_BYTES_LOW, DISK_FREE_BYTES_MIN

_DAY_S = 86_400
_EXPIRY_DAYS_LOW = 14
_RELEASED_S = 1_767_225_600  # 2026-01-01: before that no clock is right
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_BYTES = 512  # more than `struct timex` has anywhere
_FAR_DISKS = ("nfs", "cifs", "smb", "9p", "fuse.sshfs")


def check_settings(config: Config, now_ms: int) -> Iterator[Finding]:
    """Those that contradict each other, or lead where nobody wanted to go."""
    found = [*_access(config, now_ms), *_channels(config), *_cloudflare(config), *_files(config)]
    yield from found or [ok("settings", "they fit together")]


def _access(config: Config, now_ms: int) -> Iterator[Finding]:
    has_token = bool(config.ingest_token or config.read_token or config.admin_token) or _kept_token(config, now_ms)
    if config.host not in ("localhost", "127.0.0.1", "::1") and not config.host.startswith("127."):
        if config.allow_anonymous:
            told = f"everyone who reaches {config.host} may read and write"
            yield warning("access", told, "make tokens (`mirubato token create`) and take allow_anonymous away")
        elif not has_token:
            told = f"host {config.host} can be reached from elsewhere and there is no token: it will not start"
            yield problem("access", told, f"mirubato token create --scope admin --data-dir {config.data_dir}")
        if config.tls_cert is None:
            told = f"host {config.host} without TLS: tokens cross the network as they are"
            yield warning("access", told, "set tls_cert and tls_key, or let a proxy end TLS (deploy/proxy)")
    if "*" in config.cors_origins:
        yield warning("access", "cors_origins is *: any page may use the ports", "list the pages that shall")
    ports = [config.grpc_port, config.otlp_http_port, config.web_port]
    if len({port for port in ports if port}) < len([port for port in ports if port]):
        told = "two of grpc_port, otlp_http_port and web_port are the same"
        yield problem("settings", told, "give each a port of its own")


def _kept_token(config: Config, now_ms: int) -> bool:
    """Whether state.db has one that lives; a file that is not there yet is not made."""
    if not (config.data_dir / FILE).is_file():
        return False
    try:
        state = StateStore(config.data_dir)
    except MirubatoError:
        return False  # check_disk says why
    try:
        return any(token.live(now_ms) for token in state.read(ledger.tokens))
    finally:
        state.close(1)


def _channels(config: Config) -> Iterator[Finding]:
    sends_mail = bool(config.smtp_url or config.email_api_key)
    if config.email_to and not sends_mail:
        yield problem("settings", "email_to is set, and nothing that sends", "set smtp_url or EMAIL_API_KEY")
    if sends_mail and not config.email_to:
        yield problem("settings", "mail could be sent, and to nobody", "set email_to")
    if config.slack_bot_token and not config.slack_channel:
        yield problem("settings", "SLACK_BOT_TOKEN is set, and no channel", "set slack_channel, such as #alerts")
    if config.slack_webhook_url and not config.slack_webhook_url.startswith(("http://", "https://")):
        yield problem("keys", "SLACK_WEBHOOK_URL is no address", "copy it from Slack's page of incoming webhooks")
    if config.pagerduty_key and len(config.pagerduty_key) != 32:
        told = "PAGERDUTY_KEY has not the 32 characters of an integration key"
        yield warning("keys", told, "copy the key of an Events API v2 integration of the service")
    if config.slack_bot_token and not config.slack_bot_token.startswith("xox"):
        yield warning("keys", "SLACK_BOT_TOKEN does not begin with xoxb-", "copy the bot token of the app")


def _cloudflare(config: Config) -> Iterator[Finding]:
    if config.d1_database_id and not (config.cloudflare_account_id and config.cloudflare_api_token):
        told = "d1_database_id is set without account or token: nothing will be mirrored"
        yield problem("settings", told, "set cloudflare_account_id and cloudflare_api_token")
    if bool(config.cloudflare_account_id) != bool(config.cloudflare_api_token):
        told = "of cloudflare_account_id and cloudflare_api_token only one is set"
        yield problem("settings", told, "set both, or none")


def _files(config: Config) -> Iterator[Finding]:
    for pattern in config.rule_files:
        if not glob.glob(pattern, recursive=True):  # noqa: PTH207  (patterns may be absolute)
            yield problem("settings", f"rule_files: nothing is at {pattern}", "correct the path, or take it away")
    if (
        config.report_store.startswith("s3://")
        and not config.s3_access_key_id
        and "AWS_ACCESS_KEY_ID" not in os.environ
    ):
        yield problem("settings", "report_store is a bucket, and there is no key for it", "set s3_access_key_id")


def check_disk(config: Config) -> Iterator[Finding]:
    """Whether data_dir can be written to, for how long, and whether it is a disk of this machine."""
    directory = config.data_dir
    while not directory.exists():
        directory = directory.parent
    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".doctor-") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield problem("disk", f"{directory} cannot be written to: {error.strerror}", f"chown it to user {os.getuid()}")
        return
    free = shutil.disk_usage(directory).free
    told = f"{directory} can be written to, {free / (1 << 30):.1f} GiB are free"
    if free < DISK_FREE_BYTES_MIN:
        yield problem("disk", told, "make room, or shorten retention_raw")
    elif free < DISK_FREE_BYTES_LOW:
        yield warning("disk", told, "make room before it is full: what cannot be stored is refused")
    else:
        yield ok("disk", told)
    kind = _file_system(directory)
    if kind.startswith(_FAR_DISKS):
        told = f"{directory} is on {kind}: SQLite's write-ahead log needs a disk of this machine"
        yield problem("disk", told, "put data_dir on a local disk or block device")


def _file_system(directory: Path) -> str:
    """Of the longest mount point above."""
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    resolved, found = directory.resolve(), ("", "")
    for _, point, kind, *_ in (line.split() for line in lines):
        if resolved.is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1]


def check_clock(now_ms: int) -> Iterator[Finding]:
    """Samples bear times: a clock that is wrong puts them where nobody looks, or makes them too old."""
    if now_ms < _RELEASED_S * 1000:
        yield problem("clock", "it is before 2026 here", "set the clock (timedatectl set-ntp true)")
    elif _unsynchronised():
        told = "the system says that nobody keeps its clock right"
        yield warning("clock", told, "start chrony or systemd-timesyncd (timedatectl set-ntp true)")
    else:
        yield ok("clock", "it is kept right")


def _unsynchronised() -> bool:
    """By adjtimex(2), which only reads with a `modes` of 0; where there is none, it is not said."""
    try:
        adjtimex = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True).adjtimex
    except (OSError, AttributeError):
        return False
    return int(adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))) == _TIME_ERROR


def check_ports(config: Config) -> Iterator[Finding]:
    """Where no gateway runs: whether one could listen."""
    taken = []
    for name in ("grpc_port", "otlp_http_port", "web_port"):
        reason = _why_not(config.host, getattr(config, name))
        if reason:
            taken.append(name)
            where = address(config.host, getattr(config, name))
            yield problem("ports", f"{name}: cannot listen on {where}: {reason}", f"end what has it, or set {name}")
    if not taken:
        yield ok("ports", "all three are free")


def _why_not(host: str, port: int) -> str | None:
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        return str(error.strerror).partition(" (while")[0]
    return None


def check_tls(config: Config, now_ms: int) -> Iterator[Finding]:
    """Whether the certificate can be used, and for how long."""
    if config.tls_cert is None and config.tls_key is None:
        return
    if config.tls_cert is None or config.tls_key is None:
        yield problem("tls", "of tls_cert and tls_key only one is set", "set both, or none")
        return
    try:
        until_s = ends_s(config.tls_cert, config.tls_key)
    except (OSError, ssl.SSLError, ConfigError) as error:
        yield problem(
            "tls", f"{config.tls_cert}: {error}", "renew the certificate; both files are read again by themselves"
        )
        return
    days = (until_s - now_ms / 1000) / _DAY_S
    told = f"{config.tls_cert} is good for {days:.0f} more days"
    if days < 0:
        yield problem("tls", f"{config.tls_cert} has expired", "renew it; both files are read again by themselves")
    elif days < _EXPIRY_DAYS_LOW:
        yield warning("tls", told, "renew it; both files are read again by themselves")
    else:
        yield ok("tls", told)
    if config.tls_key.stat().st_mode & 0o004:
        yield warning("tls", f"everybody here can read {config.tls_key}", f"chmod o-r {config.tls_key}")
