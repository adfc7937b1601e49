"""A certificate as a client sees it."""

import re
import ssl
from collections.abc import Sequence
from pathlib import Path

from mirubato.errors import ConfigError

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def trusting(cert: Path) -> ssl.SSLContext:
    """A client's context that takes exactly this certificate, under whatever name: it lies beside us on the disk."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        found = _CERTIFICATE.search(cert.read_text(encoding="ascii"))
        if found is None:
            raise ConfigError(f"tls_cert {cert} holds no certificate in PEM")
        context.load_verify_locations(cadata=found[0])
    except (OSError, UnicodeDecodeError, ssl.SSLError) as error:
        raise ConfigError(f"tls_cert {cert} cannot be used: {error}") from error
    return context


def ends_s(cert: Path, key: Path) -> float:
    """When a certificate ends: only a client that has shaken hands is told, so one does, in memory."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(cert, key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting(cert).wrap_bio(to_client, to_server)
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    waiting: Sequence[ssl.SSLObject] = (client, server)
    while waiting:
        waiting = [side for side in waiting if not _shaken(side)]
    shown = client.getpeercert()
    assert shown is not None
    return ssl.cert_time_to_seconds(str(shown["notAfter"]))


def _shaken(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
