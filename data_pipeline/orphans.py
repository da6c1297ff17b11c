"""Worker processes end when the process that started them is gone, however it ended.

A killed process runs no code of its own. Its workers would wait for work forever, or write beside a second
run of the same command.
"""

import multiprocessing
import os
import signal
import threading


def die_with_parent(*, group: bool = False) -> None:
    """Ends this process, which `multiprocessing` has started, as soon as its parent is gone.

    Args:
        group: ends the whole process group, which this process leads.
    """
    parent = multiprocessing.parent_process()

    def wait() -> None:
        parent.join()
        if group:
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
