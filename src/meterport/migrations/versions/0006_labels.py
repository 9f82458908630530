"""Labels: what its user calls an export; and a history in order of time."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("label", sa.String))
    op.create_index("jobs_by_time", "jobs", ["created_at", "id"])


def downgrade() -> None:
    op.drop_index("jobs_by_time", "jobs")
    op.drop_column("jobs", "label")
