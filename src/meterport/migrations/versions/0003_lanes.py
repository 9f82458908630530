"""Lanes, and the indexes by which the fairest free job of a lane is found."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("lane", sa.String, nullable=False, server_default="small"))
    op.create_index("jobs_by_lane", "jobs", ["status", "lane", "owner", "created_at", "id"])


def downgrade() -> None:
    op.drop_index("jobs_by_lane", "jobs")
    op.drop_column("jobs", "lane")
