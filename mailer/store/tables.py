"""Every table, on one screen. Plain columns hold only what steers work (DESIGN §5); the rest is sealed.

Moments are whole seconds since 1970, UTC. Ids are random, and tables with such a key are WITHOUT ROWID in SQLite, so
that the order of rows tells nothing.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    text,
)

SCHEMA_VERSION = "0002"  # the newest of migrations/versions

metadata = MetaData()


def seconds(moment: datetime) -> int:
    """Return a moment as the tables hold it: whole seconds since 1970, UTC."""
    return int(moment.timestamp())


subscribers = Table(
    "subscribers",
    metadata,
    Column("id", LargeBinary(12), primary_key=True),
    Column("list_id", String(32), nullable=False),
    Column("look_up", LargeBinary(32), nullable=False, unique=True),  # Argon2id over HMAC of list and address
    Column("suppression", LargeBinary(32), nullable=False),  # what `suppressions.mark` becomes when this row is erased
    Column("record", LargeBinary, nullable=False),  # address and drawer key; only the roster key opens it
    Column("data_key_id", LargeBinary(16)),  # null: the record is fresh, sealed to the roster's public key
    Column("wrapped_drawer_key", LargeBinary, nullable=False),
    Column("drawer", LargeBinary, nullable=False),
    Column("state", String(12), nullable=False),
    Column("method", String(12), nullable=False),
    Column("language", String(8), nullable=False),
    Column("joined", Date, nullable=False),
    Column("provider", String(255), nullable=False),
    Column("bounce_score", Integer, nullable=False, server_default="0"),
    Column("bouncing_since", Date),  # the first day that counted into the score
    Column("bounced", Date),  # the last day that counted into the score
    Column("probed", Date),  # when the letter was queued that asks whether the mailbox is gone
    Column("unsubscribe_mark", LargeBinary(16), nullable=False, unique=True),
    Column("bounce_mark", LargeBinary(16), nullable=False, unique=True),
    Index("ix_subscribers_list_state", "list_id", "state"),
    sqlite_with_rowid=False,
)

roster_data_keys = Table(
    "roster_data_keys",
    metadata,
    Column("id", LargeBinary(16), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("is_current", Boolean, nullable=False),
    Index(
        "uq_roster_data_keys_current",  # two workers that begin a register at once must not make two
        "is_current",
        unique=True,
        sqlite_where=text("is_current"),
        postgresql_where=text("is_current"),
    ),
    sqlite_with_rowid=False,
)

requests = Table(  # what waits for a confirmation
    "requests",
    metadata,
    Column("mark", LargeBinary(16), primary_key=True),  # of the token, which itself is stored nowhere
    Column("list_id", String(32), nullable=False),
    Column("verb", String(32), nullable=False),
    Column("look_up", LargeBinary(32), nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # under a key that needs the token
    Column("expires", BigInteger, nullable=False),
    UniqueConstraint("look_up", "verb", name="uq_requests_look_up_verb"),
    Index("ix_requests_expires", "expires"),
    sqlite_with_rowid=False,
)

invitations = Table(  # cards that were not used yet; erased when they are, so nothing says who came by which
    "invitations",
    metadata,
    Column("mark", LargeBinary(16), primary_key=True),  # of the code, which itself is stored nowhere
    Column("list_id", String(32), nullable=False),
    Column("batch", String(8), nullable=False),  # printed together
    Column("number", Integer, nullable=False),  # of the card in its batch
    Column("language", String(8), nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # the reading passphrase, under a key that needs the code
    Column("made", Date, nullable=False),
    Column("expires", BigInteger, nullable=False),
    UniqueConstraint("list_id", "batch", "number", name="uq_invitations_batch_number"),
    Index("ix_invitations_expires", "expires"),
    sqlite_with_rowid=False,
)

suppressions = Table(  # who left or was banned, so that no import brings them back
    "suppressions",
    metadata,
    Column("list_id", String(32), nullable=False),
    Column("mark", LargeBinary(32), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("day", Date, nullable=False),
    PrimaryKeyConstraint("list_id", "mark"),
    sqlite_with_rowid=False,
)

forgotten = Table(  # who asked to be forgotten, until that stands beside the backups that still hold them
    "forgotten",
    metadata,
    Column("list_id", String(32), nullable=False),
    Column("mark", LargeBinary(32), nullable=False),
    Column("day", Date, nullable=False),
    PrimaryKeyConstraint("list_id", "mark"),
    sqlite_with_rowid=False,
)

counters = Table(  # how often something was done for somebody, erased when the period ends
    "counters",
    metadata,
    Column("key", LargeBinary(32), primary_key=True),
    Column("used", Integer, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Index("ix_counters_expires", "expires"),
    sqlite_with_rowid=False,
)

inbox = Table(
    "inbox",
    metadata,
    Column("id", LargeBinary(12), primary_key=True),
    Column("received", BigInteger, nullable=False),  # in milliseconds: two letters of one second keep their order
    Column("due", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("aside", String(32)),  # null: waiting; else the reason why it was set aside
    Column("sealed", LargeBinary, nullable=False),
    Index("ix_inbox_received", "aside", "received"),
    sqlite_with_rowid=False,
)

outbox = Table(  # replies to letters just received, no more
    "outbox",
    metadata,
    Column("id", LargeBinary(12), primary_key=True),
    Column("queued", BigInteger, nullable=False),
    Column("due", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("sealed", LargeBinary, nullable=False),
    Index("ix_outbox_due", "due"),
    sqlite_with_rowid=False,
)

digests = Table(
    "digests",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("list_id", String(32), nullable=False),
    Column("state", String(12), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("corrects", String(32)),  # the id of the digest that this one puts right
    Column("begins", BigInteger),  # when it is sent; null while it is a draft
    Column("over_s", Integer, nullable=False, server_default="0"),  # spread over so long
    Column("send_before", BigInteger),  # what has not left by then is held
    Column("started", BigInteger),
    Column("planned", Integer, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

editions = Table(  # as composed
    "editions",
    metadata,
    Column("digest_id", String(32), nullable=False),
    Column("language", String(8), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("digest_id", "language"),
    sqlite_with_rowid=False,
)

signed_editions = Table(  # as signed, once for each identity, in the forms that it is sent in
    "signed_editions",
    metadata,
    Column("digest_id", String(32), nullable=False),
    Column("language", String(8), nullable=False),
    Column("identity", String(32), nullable=False),  # "" for the list's own address
    Column("form", String(12), nullable=False),  # one of model.digest.Form
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("digest_id", "language", "identity", "form"),
    sqlite_with_rowid=False,
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("job", String(32), nullable=False),  # the id of a digest, or "notice/KIND"
    Column("subscriber_id", LargeBinary(12), nullable=False),  # or the id of a seed mailbox
    Column("list_id", String(32), nullable=False),
    Column("provider", String(255), nullable=False),  # as in subscribers, when it was planned
    Column("state", String(12), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("first", BigInteger),  # the first attempt
    Column("due", BigInteger, nullable=False),  # for a leased delivery: when the lease runs out
    Column("lease_by", String(64)),
    PrimaryKeyConstraint("job", "subscriber_id"),
    Index("ix_deliveries_next", "job", "state", "provider", "due"),
    Index("ix_deliveries_subscriber", "subscriber_id"),
    Index(
        "ix_deliveries_leases",
        "lease_by",
        sqlite_where=text("lease_by IS NOT NULL"),
        postgresql_where=text("lease_by IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

tallies = Table(  # how many deliveries of a job ended how; the rows themselves are erased
    "tallies",
    metadata,
    Column("job", String(32), nullable=False),
    Column("state", String(12), nullable=False),
    Column("relay", String(32), nullable=False),  # "" where none was asked
    Column("failure", String(16), nullable=False),  # "" where there was none
    Column("number", Integer, nullable=False),
    PrimaryKeyConstraint("job", "state", "relay", "failure"),
    sqlite_with_rowid=False,
)

weather = Table(  # what providers answer, by day
    "weather",
    metadata,
    Column("day", Date, nullable=False),
    Column("provider", String(255), nullable=False),
    Column("outcome", String(16), nullable=False),  # "sent", or a Failure
    Column("number", Integer, nullable=False),
    PrimaryKeyConstraint("day", "provider", "outcome"),
    sqlite_with_rowid=False,
)

paces = Table(  # where mail to a provider is limited by the minute: up to when its share is used up
    "paces",
    metadata,
    Column("provider", String(255), primary_key=True),
    Column("used_until", BigInteger, nullable=False),  # in milliseconds
    sqlite_with_rowid=False,
)

sightings = Table(  # copies that arrived in the organisers' own mailboxes
    "sightings",
    metadata,
    Column("digest_id", String(32), nullable=False),
    Column("seed_id", LargeBinary(12), nullable=False),
    Column("seen", BigInteger, nullable=False),
    Column("place", String(64), nullable=False),  # the folder
    PrimaryKeyConstraint("digest_id", "seed_id"),
    sqlite_with_rowid=False,
)

rounds = Table(  # how far the deliverers have come with what is done to the whole register once a day
    "rounds",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("before", BigInteger, nullable=False),  # the moment of the last round: this one looks at what came since
    Column("moment", BigInteger, nullable=False),  # of this round
    Column("place", LargeBinary(12)),  # the subscriber up to whom it has come; null: it has ended
    Column("due", BigInteger, nullable=False),  # the next page, or round
    sqlite_with_rowid=False,
)

traits = Table(  # what this database knows of itself: "home", the machine and file that it belongs to; and which list
    # keys were announced ("list-key-…")
    "traits",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

audit = Table(  # what organisers and admins did; each entry holds a digest of itself and of the one before
    "audit",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("moment", BigInteger, nullable=False),
    Column("actor", String(64), nullable=False),  # the machine's user
    Column("action", String(64), nullable=False),
    Column("about", String(255), nullable=False),  # ids of digests and lists
    Column("digest", LargeBinary(32), nullable=False),
    sqlite_with_rowid=False,
)
