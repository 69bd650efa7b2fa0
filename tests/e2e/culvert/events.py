"""The file that a gateway or an agent tells its events to."""

import json

from culvert.process import PATIENCE, eventually


def at_least(count, found):
    return found if len(found) >= count else None


def read_events(path, is_growing=False):
    """The events of a file, which must be whole lines. One that is being written may show the
    beginning of a line."""
    with open(path, encoding="ascii") as file:
        content, _, rest = file.read().rpartition("\n")
    assert is_growing or not rest
    return [json.loads(line) for line in content.splitlines()]


def wait_for_events(path, event, count=1, timeout=PATIENCE, **fields):
    """The first `count` events of a type in a file, with these values."""

    def look():
        return at_least(count, [
            one for one in read_events(path, is_growing=True) if one["event"] == event
            and all(one.get(name) == value for name, value in fields.items())])

    return eventually(look, timeout, f"{path} did not get {count} {event} with {fields}")
