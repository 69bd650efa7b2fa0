"""The messages of Hubble 0.1: a type byte and a msgpack map, in the format from before `bin`."""

import msgpack

VERSION = "0.1"

HANDSHAKE, INITIATOR, DATA, TERMINATOR, CONNECTION_CLOSED, ACK = 0x01, 0x02, 0x03, 0x04, 0x05, 0xFF


class Malformed(Exception):
    """What came is no message; its connection has to go."""


def _text(value):
    if value is None:
        return ""
    if not isinstance(value, bytes):
        raise Malformed(f"{value!r} is no text")
    return value.decode("utf-8", "surrogateescape")


def _data(value):
    """Bytes, or None where there were none, which is passed on as such."""
    if isinstance(value, list) and all(type(one) is int and 0 <= one <= 255 for one in value):
        return bytes(value)
    if value is not None and not isinstance(value, bytes):
        raise Malformed(f"{value!r} is no data")
    return value


def _integer(lowest, highest):
    def take(value):
        if value is None:
            return 0
        if type(value) is not int or not lowest <= value <= highest:
            raise Malformed(f"{value!r} is not between {lowest} and {highest}")
        return value
    return take


def _boolean(value):
    if value is None:
        return False
    if type(value) is not bool and not (type(value) is int and value in (0, 1)):
        raise Malformed(f"{value!r} is neither true nor false")
    return bool(value)


_order = _integer(-2**63, 2**63 - 1)
_port = _integer(0, 65535)

# In the order of declaration, which is that of the array form.
FIELDS = {
    HANDSHAKE: {"Version": _text, "Name": _text, "Key": _text},
    INITIATOR: {"GUID": _text, "RemoteHost": _text, "RemotePort": _port, "Gatename": _text,
                "Key": _text},
    DATA: {"GUID": _text, "Order": _order, "Data": _data},
    TERMINATOR: {"GUID": _text},
    CONNECTION_CLOSED: {"GUID": _text},
    ACK: {"GUID": _text, "Ok": _boolean, "Message": _text},
}


def encode(kind, **fields):
    """A message as the originals write it; fields that are not given are zero."""
    assert fields.keys() <= FIELDS[kind].keys(), fields
    body = {name: fields.get(name, take(None)) for name, take in sorted(FIELDS[kind].items())}
    return bytes([kind]) + msgpack.packb(body, use_bin_type=False,
                                         unicode_errors="surrogateescape")


def acknowledge(guid="", error=None):
    """An ack: positive unless there is an error's text."""
    return encode(ACK, GUID=guid, Ok=error is None, Message="<nil>" if error is None else error)


def decode(message):
    """(type, fields) of all that the originals accept; bytes behind the value are ignored."""
    if not isinstance(message, bytes) or not message or message[0] not in FIELDS:
        raise Malformed(f"{message[:16]!r} is no message")
    fields = FIELDS[message[0]]
    unpacker = msgpack.Unpacker(raw=True, strict_map_key=False)
    unpacker.feed(message[1:])
    try:
        value = unpacker.unpack()
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise Malformed(f"{message[:16]!r} cannot be decoded: {error}") from error
    if value is None:
        value = {}
    elif isinstance(value, list):
        value = dict(zip((name.encode() for name in fields), value))
    elif not isinstance(value, dict):
        raise Malformed(f"{value!r} is no map")
    return message[0], {name: take(value.get(name.encode())) for name, take in fields.items()}
