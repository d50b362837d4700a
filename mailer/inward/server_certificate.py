"""The door's TLS certificate, read again when its files change, so that a renewal needs no restart."""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

from mailer.errors import ConfigError

LOOK_EVERY_S = 60.0

log = logging.getLogger("mailer")


@dataclass
class ServerCertificate:
    """context: what the door hands to STARTTLS; a reload changes what new connections see."""

    chain: Path
    key: Path
    context: ssl.SSLContext

    @classmethod
    def load(cls, chain: Path | None, key: Path | None) -> ServerCertificate | None:
        """Return the certificate, or None where there is none. Raises ConfigError."""
        if chain is None or key is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        certificate = cls(chain, key, context)
        certificate._read()
        return certificate

    async def renew_for_ever(self) -> None:
        """Look at the files once a minute; a pair that does not fit is named in the log and the old one stays."""
        seen = self._changed_at()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now = self._changed_at()
            if now != seen:
                seen = now
                try:
                    self._read()
                except ConfigError as error:
                    log.error("%s", error)

    def _read(self) -> None:
        try:
            self.context.load_cert_chain(self.chain, self.key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"[door] tls_certificate and tls_key: {error.strerror or type(error).__name__}."
            ) from error

    def _changed_at(self) -> tuple[float, ...]:
        try:
            return tuple(path.stat().st_mtime for path in (self.chain, self.key))
        except OSError:
            return ()
