"""The first schema: register, inbox, outbox, digests, deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
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
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=True),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("lease_by", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("job", "subscriber_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_deliveries_state_due", "deliveries", ["state", "due"], unique=False)
    op.create_index("ix_deliveries_subscriber", "deliveries", ["subscriber_id"], unique=False)
    op.create_table(
        "digests",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("list_id", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
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
        sa.Column("signed", sa.LargeBinary(), nullable=True),
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
    op.create_index("ix_requests_expires", "requests", ["expires"], unique=False)
    op.create_table(
        "roster_data_keys",
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
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
