"""Keys, links and the audit log; exports by their owner; idempotency keys of files sent."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0007"
down_revision = "0006"

JOB_ID = sa.String(36).with_variant(UUID(as_uuid=False), "postgresql")
BY_BYTES = sa.String().with_variant(sa.String(collation="C"), "postgresql")
APPEND_ONLY = ("audit", "audit_meters")


def upgrade() -> None:
    op.create_index("jobs_by_owner", "jobs", ["owner", "created_at", "id"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("secret_sha256", sa.String, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("meters", sa.Text, nullable=False),
        sa.Column("created_at", sa.TIMESTAMP, nullable=False),
        sa.Column("expires_at", sa.TIMESTAMP),
        sa.Column("revoked_at", sa.TIMESTAMP),
        sa.Column("last_used_at", sa.TIMESTAMP),
    )
    op.create_table(
        "links",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("job_id", JOB_ID, sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("secret_sha256", sa.String, nullable=False),
        sa.Column("created_at", sa.TIMESTAMP, nullable=False),
        sa.Column("expires_at", sa.TIMESTAMP, nullable=False),
    )
    op.create_index("links_by_job", "links", ["job_id"])
    _make_import_keys()
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", BY_BYTES, nullable=False),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("result", sa.String, nullable=False),
        sa.Column("job_id", sa.String),
        sa.Column("meters_sha256", BY_BYTES),
        sa.Column("rows", sa.BigInteger),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
    )
    op.create_index("audit_by_meters", "audit", ["meters_sha256", "seq"])
    op.create_index("audit_by_job", "audit", ["job_id", "seq"])
    op.create_table(
        "audit_meters",
        sa.Column("meters_sha256", BY_BYTES, primary_key=True),
        sa.Column("smart_meter_id", BY_BYTES, primary_key=True),
    )
    op.create_index("audit_meters_by_meter", "audit_meters", ["smart_meter_id"])
    _forbid_changes()


def _make_import_keys() -> None:
    op.create_table(
        "import_keys",
        sa.Column("owner", sa.String, primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("request_sha256", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("holder", sa.String),
        sa.Column("lease_until", sa.TIMESTAMP),
        sa.Column("report", sa.Text),
        sa.Column("created_at", sa.TIMESTAMP, nullable=False),
    )
    op.create_index("import_keys_by_time", "import_keys", ["created_at"])


def _forbid_changes() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION meterport_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the audit log is only added to'; END $$"
        )
        for table in APPEND_ONLY:
            op.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE "
                f"ON {table} FOR EACH STATEMENT EXECUTE FUNCTION meterport_append_only()"
            )
        return
    for table in APPEND_ONLY:
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
                "BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END"
            )


def downgrade() -> None:
    for table in ("audit_meters", "audit", "import_keys", "links", "api_keys"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION meterport_append_only()")
    op.drop_index("jobs_by_owner", "jobs")
