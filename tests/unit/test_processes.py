"""How a command is told to stop."""

import subprocess
import sys

DROPPED = """
import os, signal
from meterport.processes import check_told_to_stop, stop_as_on_ctrl_c

class Late:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        print("python drops what is raised here")

stop_as_on_ctrl_c()
Late()
print("went on")
try:
    check_told_to_stop()
except KeyboardInterrupt:
    print("stopped")
"""


def test_an_interrupt_that_python_drops_is_raised_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DROPPED], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout == "went on\nstopped\n"
    assert "KeyboardInterrupt" in done.stderr
