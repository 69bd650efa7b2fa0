"""What a test does beside itself."""

import threading


class Task:
    """A thread whose failure is raised where its end is waited for."""

    def __init__(self, action, *arguments):
        self._action = action
        self._arguments = arguments
        self._error = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self._action(*self._arguments)
        except BaseException as error:
            self._error = error

    def is_running(self):
        return self._thread.is_alive()

    def finish(self, timeout):
        self._thread.join(timeout)
        if self._error:
            raise self._error
        assert not self._thread.is_alive(), f"it goes on after {timeout} s"
