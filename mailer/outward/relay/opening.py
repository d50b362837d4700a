"""Opens a session: aiosmtplib connects, secures and logs in, through a SOCKS5 proxy if need be; then it hands over."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from dataclasses import replace

import aiosmtplib
from python_socks import ProxyError, ProxyType
from python_socks.async_.asyncio import Proxy as SocksProxy

from mailer.model.retry import Outcome
from mailer.outward.relay.reply import read_lost
from mailer.outward.relay.session import Offer, Session
from mailer.outward.relay.settings import RelaySettings, is_loopback, read_proxy, tls_context
from mailer.outward.relay.wire import Wire

TROUBLES = (aiosmtplib.SMTPException, ProxyError, OSError)  # OSError: ssl.SSLError and TimeoutError are such


async def open_session(settings: RelaySettings, tls: ssl.SSLContext | None) -> Session:
    """Return a session after login, on TLS that was verified (tls None: on this machine). Raises one of TROUBLES."""
    through = await _reach_through_proxy(settings)
    smtp = _new_client(settings, tls, through)
    try:
        await smtp.connect()
        _check_security(smtp, tls)
        if smtp.is_ehlo_or_helo_needed:  # as after STARTTLS: what was offered before it does not count
            await smtp.ehlo()
        if settings.username is not None:
            await smtp.login(settings.username, settings.password or "")
        return Session(_take_over(smtp), _offer(smtp), settings.timeout_s)
    except BaseException:
        _drop(smtp, through)
        raise


def read_trouble(error: Exception) -> Outcome:
    """Return what one of TROUBLES means for a letter: later, with the code that the relay gave."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return read_lost(error.code, error.message)
    return read_lost()


async def _reach_through_proxy(settings: RelaySettings) -> socket.socket | None:
    """The name goes to the proxy as it is: looking it up here would tell who runs the DNS which relay is used."""
    proxy = read_proxy(settings.proxy)
    if proxy is None:
        return None
    login = (proxy.username or None, proxy.password or None)
    socks = SocksProxy(ProxyType.SOCKS5, proxy.host, proxy.port, *login, rdns=True)
    return await socks.connect(settings.host, settings.port, timeout=settings.timeout_s)


def _new_client(settings: RelaySettings, tls: ssl.SSLContext | None, through: socket.socket | None) -> aiosmtplib.SMTP:
    return aiosmtplib.SMTP(
        hostname=settings.host,  # with a proxy, too, the name that the certificate must bear
        port=None if through else settings.port,
        sock=through,
        local_hostname=settings.local_hostname,
        timeout=settings.timeout_s,
        use_tls=settings.security == "implicit",
        start_tls=settings.security == "starttls",  # never None, which goes on in clear if it is not offered
        tls_context=tls,
    )


def _check_security(smtp: aiosmtplib.SMTP, tls: ssl.SSLContext | None) -> None:
    if tls is None and not is_loopback(str(smtp.get_transport_info("peername")[0])):
        raise aiosmtplib.SMTPException("not this machine")  # whatever the name was resolved to
    if tls is not None and smtp.get_transport_info("sslcontext") is not tls:
        raise aiosmtplib.SMTPException("no TLS")


def _take_over(smtp: aiosmtplib.SMTP) -> Wire:
    transport = smtp.transport
    if not isinstance(transport, asyncio.Transport) or transport.is_closing():
        raise aiosmtplib.SMTPServerDisconnected("gone")
    connected = transport.get_extra_info("socket")
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio leaves it off on a proxy's socket
    return Wire(transport)


def _offer(smtp: aiosmtplib.SMTP) -> Offer:
    size = smtp.esmtp_extensions.get("size", "")
    return Offer(
        has_pipelining=smtp.supports_extension("PIPELINING"),
        has_size=smtp.supports_extension("SIZE"),
        size=int(size) if size.isascii() and size.isdecimal() and len(size) <= 20 else 0,  # RFC 1870 §4: 20 digits
        has_8bit=smtp.supports_extension("8BITMIME"),
        has_utf8=smtp.supports_extension("SMTPUTF8"),
    )


def _drop(smtp: aiosmtplib.SMTP, through: socket.socket | None) -> None:
    transport = smtp.transport
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()
    smtp.close()
    if through is not None:
        through.close()


async def reach(settings: RelaySettings) -> None:
    """Connect, secure the connection and hang up, without logging in. Raises RelayUnusable, OSError, TimeoutError.

    Of OSError, ssl.SSLError tells what is wrong with the certificate.
    """
    if settings.folder is not None:
        return
    try:
        session = await open_session(replace(settings, username=None), tls_context(settings))
    except aiosmtplib.SMTPException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ssl.SSLError):
            cause = cause.__cause__ or cause.__context__
        raise (cause if isinstance(cause, ssl.SSLError) else OSError("no session")) from None
    except ProxyError:
        raise OSError("no proxy") from None
    with suppress(*TROUBLES):
        await session.close()
