"""The certificate of all three ports, read again when its files change: a renewal needs no restart."""

import asyncio
import logging
import ssl
from pathlib import Path

import grpc

from mirubato.config import Config
from mirubato.errors import ConfigError

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 2.0


class Certificate:
    """A pair of files, as the HTTP ports and gRPC each want it. A Part of the gateway."""

    def __init__(self, cert: Path, key: Path) -> None:
        """ConfigError if the two cannot be used."""
        self._cert, self._key = cert, key
        self._seen = self._stamp()
        self.context = self._loaded()
        self._pair = self._read()
        self._task: asyncio.Task[None] | None = None

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """gRPC asks at each handshake which certificate to show."""
        return grpc.dynamic_ssl_server_credentials(self._configuration(), self._configuration)

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([self._pair])

    async def start(self) -> None:
        """Begin to look at the files."""
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            await asyncio.to_thread(self.look)

    def look(self) -> bool:
        """Take the files if they have changed and are a pair; answers whether they were taken."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp
        try:
            self._loaded()  # a pair that does not fit must not reach the context in use
            self.context.load_cert_chain(self._cert, self._key)
            self._pair = self._read()
        except (ConfigError, OSError) as error:
            _log.error("the changed certificate is not used: %s", error)
            return False
        _log.info("took the changed certificate of %s", self._cert)
        return True

    def _stamp(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_changed(path) for path in (self._cert, self._key))

    def _read(self) -> tuple[bytes, bytes]:
        return self._key.read_bytes(), self._cert.read_bytes()

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._cert, self._key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"tls_cert {self._cert} and tls_key {self._key} cannot be used: {error}") from error
        return context


def _changed(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino


def certificate(config: Config) -> Certificate | None:
    """The one of the settings; None: the ports speak without TLS."""
    if config.tls_cert is None and config.tls_key is None:
        return None
    if config.tls_cert is None or config.tls_key is None:
        raise ConfigError("tls_cert and tls_key (MIRUBATO_TLS_CERT, MIRUBATO_TLS_KEY) go together: one is missing")
    return Certificate(config.tls_cert, config.tls_key)
