"""Where the real sample files are."""

import os
from pathlib import Path

SAMPLES = Path(os.environ.get("METERPORT_SAMPLES", "../shared/data"))
