"""Other users, as whom tests run programs and whose files they make."""

import functools
import os
import shutil
import subprocess


@functools.cache
def can_be_others():
    """Whether this process may: it is root, where root has more users than itself."""
    return os.geteuid() == 0 and shutil.which("setpriv") is not None and subprocess.run(
        ["setpriv", "--reuid", "64001", "--regid", "64001", "--clear-groups", "true"],
        capture_output=True, check=False).returncode == 0
