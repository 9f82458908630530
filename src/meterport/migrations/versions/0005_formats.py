"""Formats: how a file shall look, and what is told of it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0005"
down_revision = "0004"

JOB_ID = sa.String(36).with_variant(UUID(as_uuid=False), "postgresql")


def upgrade() -> None:
    op.add_column(
        "jobs", sa.Column("compression", sa.String, nullable=False, server_default="none")
    )
    op.add_column("jobs", sa.Column("options", sa.Text))
    op.add_column(
        "job_parts", sa.Column("is_last", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.create_table(
        "job_manifests",
        sa.Column("job_id", JOB_ID, sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("about", sa.Text, nullable=False),
        sa.Column("days", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("job_manifests")
    op.drop_column("job_parts", "is_last")
    op.drop_column("jobs", "options")
    op.drop_column("jobs", "compression")
