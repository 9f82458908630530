"""Spoils every Python process that starts with this folder on its path.

METERPORT_TEST_VARIANT names the variants of tests/chaos/broken.py, separated by commas.
"""

import os

from tests.chaos import broken

for variant in os.environ["METERPORT_TEST_VARIANT"].split(","):
    broken.apply(variant)
