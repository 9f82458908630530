"""How a command is told to stop."""

import subprocess
import sys

DEFERRED = """
import os, signal
from meterport.processes import stop_as_on_ctrl_c, stopped_only_where_asked

class Late:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

stop_as_on_ctrl_c()
with stopped_only_where_asked() as check:
    check()
    os.kill(os.getpid(), signal.SIGTERM)
    Late()
    print("went on", flush=True)
    try:
        check()
    except KeyboardInterrupt:
        print("stopped where it was asked", flush=True)
os.kill(os.getpid(), signal.SIGTERM)
print("never", flush=True)
"""


def test_an_order_to_stop_takes_effect_where_it_is_asked_for() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DEFERRED], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.stdout == "went on\nstopped where it was asked\n"
    assert done.stderr.endswith("KeyboardInterrupt\n")
    assert done.stderr.count("Traceback") == 1
