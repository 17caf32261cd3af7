"""Programs of several processes that find each other over loopback."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
COUNT = 2


def outputs(*program: str) -> list[str]:
    """What each process prints of `python *program rank port`, all run at once."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    # The program says how many devices it has.
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    printed = []
    with contextlib.ExitStack() as stack:
        processes = []
        for rank in range(COUNT):
            process = subprocess.Popen(
                [sys.executable, *program, str(rank), port],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
                cwd=ROOT,
            )
            processes.append(stack.enter_context(process))
            stack.callback(process.kill)  # or it would wait for one that failed
        for process in processes:
            out, error = process.communicate(timeout=300)
            assert process.returncode == 0, error[-4000:]
            printed.append(out)
    return printed
