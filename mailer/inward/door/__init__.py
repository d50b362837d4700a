"""The door: takes letters in by SMTP (RFC 5321) or LMTP (RFC 2033), has each stored, and only then says 250.

What it answers depends on the configured lists alone, never on who is subscribed. `listening` holds the sockets and
all connections, `conversation` is one of them, `rules` answers EHLO, MAIL and RCPT, `limits` says how much is enough.
"""

from mailer.inward.door.limits import Limits
from mailer.inward.door.listening import Door
from mailer.inward.door.settings import DoorSettings

__all__ = ["Door", "DoorSettings", "Limits"]
