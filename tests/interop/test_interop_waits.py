"""What takes half a minute has been running beside the other tests; here it is waited for."""

import pytest

from waits import SCENARIOS


@pytest.mark.parametrize("name", [scenario.__name__ for scenario in SCENARIOS])
def test_wait(waits, name):
    waits.result(name)
