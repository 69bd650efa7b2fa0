"""The file that a gateway or an agent tells its events to."""

import json

from culvert.process import eventually


def at_least(count, found):
    return found if len(found) >= count else None


def read_events(path):
    """The events of a file, which must be whole lines."""
    with open(path, encoding="ascii") as file:
        content = file.read()
    assert not content or content.endswith("\n")
    return [json.loads(line) for line in content.splitlines()]


def wait_for_events(path, event, count=1, timeout=10.0, **fields):
    """The first `count` events of a type in a file, with these values."""

    def look():
        return at_least(count, [
            one for one in read_events(path) if one["event"] == event
            and all(one.get(name) == value for name, value in fields.items())])

    return eventually(look, timeout, f"{path} did not get {count} {event} with {fields}")
