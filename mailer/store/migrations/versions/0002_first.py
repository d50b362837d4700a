"""The first schema: register, inbox, outbox, digests, deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0002"  # 0001 was never released
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "counters",
        sa.Column("key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_counters_expires", "counters", ["expires"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("subscriber_id", sa.LargeBinary(length=12), nullable=False),
        sa.Column("list_id", sa.String(length=32), nullable=False),
        sa.Column("provider", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=True),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("lease_by", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("job", "subscriber_id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_deliveries_leases",
        "deliveries",
        ["lease_by"],
        unique=False,
        sqlite_where=sa.text("lease_by IS NOT NULL"),
        postgresql_where=sa.text("lease_by IS NOT NULL"),
    )
    op.create_index("ix_deliveries_next", "deliveries", ["job", "state", "provider", "due"], unique=False)
    op.create_index("ix_deliveries_subscriber", "deliveries", ["subscriber_id"], unique=False)
    op.create_table(
        "digests",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("list_id", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("corrects", sa.String(length=32), nullable=True),
        sa.Column("begins", sa.BigInteger(), nullable=True),
        sa.Column("over_s", sa.Integer(), server_default="0", nullable=False),
        sa.Column("send_before", sa.BigInteger(), nullable=True),
        sa.Column("started", sa.BigInteger(), nullable=True),
        sa.Column("planned", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "editions",
        sa.Column("digest_id", sa.String(length=32), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest_id", "language"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "inbox",
        sa.Column("id", sa.LargeBinary(length=12), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("aside", sa.String(length=32), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_inbox_received", "inbox", ["aside", "received"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("id", sa.LargeBinary(length=12), nullable=False),
        sa.Column("queued", sa.BigInteger(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_outbox_due", "outbox", ["due"], unique=False)
    op.create_table(
        "paces",
        sa.Column("provider", sa.String(length=255), nullable=False),
        sa.Column("used_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("provider"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "requests",
        sa.Column("mark", sa.LargeBinary(length=16), nullable=False),
        sa.Column("list_id", sa.String(length=32), nullable=False),
        sa.Column("verb", sa.String(length=32), nullable=False),
        sa.Column("look_up", sa.LargeBinary(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("mark"),
        sa.UniqueConstraint("look_up", "verb", name="uq_requests_look_up_verb"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "invitations",
        sa.Column("mark", sa.LargeBinary(length=16), nullable=False),
        sa.Column("list_id", sa.String(length=32), nullable=False),
        sa.Column("batch", sa.String(length=8), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("made", sa.Date(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("mark"),
        sa.UniqueConstraint("list_id", "batch", "number", name="uq_invitations_batch_number"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_invitations_expires", "invitations", ["expires"], unique=False)
    op.create_index("ix_requests_expires", "requests", ["expires"], unique=False)
    op.create_table(
        "roster_data_keys",
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "uq_roster_data_keys_current",
        "roster_data_keys",
        ["is_current"],
        unique=True,
        sqlite_where=sa.text("is_current"),
        postgresql_where=sa.text("is_current"),
    )
    op.create_table(
        "rounds",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("before", sa.BigInteger(), nullable=False),
        sa.Column("moment", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.LargeBinary(length=12), nullable=True),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sightings",
        sa.Column("digest_id", sa.String(length=32), nullable=False),
        sa.Column("seed_id", sa.LargeBinary(length=12), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("digest_id", "seed_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "signed_editions",
        sa.Column("digest_id", sa.String(length=32), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("identity", sa.String(length=32), nullable=False),
        sa.Column("form", sa.String(length=12), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest_id", "language", "identity", "form"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "subscribers",
        sa.Column("id", sa.LargeBinary(length=12), nullable=False),
        sa.Column("list_id", sa.String(length=32), nullable=False),
        sa.Column("look_up", sa.LargeBinary(length=32), nullable=False),
        sa.Column("suppression", sa.LargeBinary(length=32), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("data_key_id", sa.LargeBinary(length=16), nullable=True),
        sa.Column("wrapped_drawer_key", sa.LargeBinary(), nullable=False),
        sa.Column("drawer", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("method", sa.String(length=12), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("joined", sa.Date(), nullable=False),
        sa.Column("provider", sa.String(length=255), nullable=False),
        sa.Column("bounce_score", sa.Integer(), server_default="0", nullable=False),
        sa.Column("bouncing_since", sa.Date(), nullable=True),
        sa.Column("bounced", sa.Date(), nullable=True),
        sa.Column("probed", sa.Date(), nullable=True),
        sa.Column("unsubscribe_mark", sa.LargeBinary(length=16), nullable=False),
        sa.Column("bounce_mark", sa.LargeBinary(length=16), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("bounce_mark"),
        sa.UniqueConstraint("look_up"),
        sa.UniqueConstraint("unsubscribe_mark"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_subscribers_list_state", "subscribers", ["list_id", "state"], unique=False)
    op.create_table(
        "suppressions",
        sa.Column("list_id", sa.String(length=32), nullable=False),
        sa.Column("mark", sa.LargeBinary(length=32), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("list_id", "mark"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tallies",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("relay", sa.String(length=32), nullable=False),
        sa.Column("failure", sa.String(length=16), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("job", "state", "relay", "failure"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("moment", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("about", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "forgotten",
        sa.Column("list_id", sa.String(length=32), nullable=False),
        sa.Column("mark", sa.LargeBinary(length=32), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("list_id", "mark"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "traits",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "weather",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("provider", sa.String(length=255), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("day", "provider", "outcome"),
        sqlite_with_rowid=False,
    )
