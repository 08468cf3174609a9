"""The pipes of the browser that tests press keys in."""

import subprocess
import sys
from pathlib import Path

import pytest

LOW_ONES_ARE_FREE = """
import fcntl, os
from browser import connect
(from_test, to_read), (to_write, to_test) = os.pipe()[::-1], os.pipe()[::-1]
ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in (from_test, to_read, to_write, to_test)]
os.closerange(3, 20)
connect(ends[1], ends[2])
os.write(ends[0], b"question")
assert os.read(3, 99) == b"question"
os.write(4, b"answer")
assert os.read(ends[3], 99) == b"answer"
print(os.get_inheritable(3), os.get_inheritable(4))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such pipes there")
def test_the_browser_inherits_both_pipes_where_their_numbers_were_free():
    command = [sys.executable, "-c", LOW_ONES_ARE_FREE]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "True"], done.stderr
