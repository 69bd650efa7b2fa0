"""The independent implementation writes and takes what the specification shows."""

import pytest

from hubble.messages import (ACK, CONNECTION_CLOSED, DATA, HANDSHAKE, INITIATOR, TERMINATOR,
                             Malformed, acknowledge, decode, encode)

EXAMPLES = {
    "handshake": ("01 83 a3 4b 65 79 a0 a4 4e 61 6d 65 a4 65 61 73 74 a7 56 65 72 73 69 6f 6e a3"
                  "30 2e 31", HANDSHAKE, {"Version": "0.1", "Name": "east", "Key": ""}),
    "accepted": ("ff 83 a4 47 55 49 44 a0 a7 4d 65 73 73 61 67 65 a5 3c 6e 69 6c 3e a2 4f 6b c3",
                 ACK, {"GUID": "", "Ok": True, "Message": "<nil>"}),
    "refused": ("ff 83 a4 47 55 49 44 a2 73 31 a7 4d 65 73 73 61 67 65 b6 47 61 74 65 77 61 79 20"
                "6e 6f 74 20 72 65 67 69 73 74 65 72 65 64 a2 4f 6b c2", ACK,
                {"GUID": "s1", "Ok": False, "Message": "Gateway not registered"}),
    "initiator": ("02 85 a4 47 55 49 44 a2 73 31 a8 47 61 74 65 6e 61 6d 65 a4 77 65 73 74 a3 4b"
                  "65 79 a1 6b aa 52 65 6d 6f 74 65 48 6f 73 74 a9 31 32 37 2e 30 2e 30 2e 31 aa"
                  "52 65 6d 6f 74 65 50 6f 72 74 16", INITIATOR,
                  {"GUID": "s1", "RemoteHost": "127.0.0.1", "RemotePort": 22, "Gatename": "west",
                   "Key": "k"}),
    "data": ("03 83 a4 44 61 74 61 a2 68 69 a4 47 55 49 44 a2 73 31 a5 4f 72 64 65 72 01", DATA,
             {"GUID": "s1", "Order": 1, "Data": b"hi"}),
    "data 200": ("03 83 a4 44 61 74 61 a2 68 69 a4 47 55 49 44 a2 73 31 a5 4f 72 64 65 72 cc c8",
                 DATA, {"GUID": "s1", "Order": 200, "Data": b"hi"}),
    "terminator": ("04 81 a4 47 55 49 44 a2 73 31", TERMINATOR, {"GUID": "s1"}),
    "closed": ("05 81 a4 47 55 49 44 a2 73 31", CONNECTION_CLOSED, {"GUID": "s1"}),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_the_specification(name):
    written, kind, fields = EXAMPLES[name]
    assert encode(kind, **fields) == bytes.fromhex(written)
    assert decode(bytes.fromhex(written)) == (kind, fields)


def test_an_ack():
    assert acknowledge() == bytes.fromhex(EXAMPLES["accepted"][0])
    assert acknowledge("s1", "Gateway not registered") == bytes.fromhex(EXAMPLES["refused"][0])


@pytest.mark.parametrize("size,head", [(31, "bf"), (32, "da0020"), (255, "da00ff"),
                                       (256, "da0100"), (65536, "db00010000")])
def test_the_old_raw_family(size, head):
    message = encode(DATA, GUID="g" * 36, Order=1, Data=bytes(size))
    assert message.startswith(b"\x03\x83\xa4Data" + bytes.fromhex(head) + bytes(size))
    assert b"GUID\xda\x00\x24" + b"g" * 36 in message


@pytest.mark.parametrize("data", ["a26869", "d9026869", "da00026869", "db000000026869", "c4026869",
                                  "c500026869", "c6000000026869", "926869"])
@pytest.mark.parametrize("order", ["01", "cc01", "cd0001", "ce00000001", "cf0000000000000001",
                                   "d001", "d10001", "d200000001", "d30000000000000001"])
def test_every_form_of_a_value(data, order):
    message = bytes.fromhex("03 83 a5") + b"Order" + bytes.fromhex(order) + \
        bytes.fromhex("d9044755 4944 c4027331 c404") + b"Data" + bytes.fromhex(data)
    assert decode(message + b"more") == (DATA, {"GUID": "s1", "Order": 1, "Data": b"hi"})


def test_the_array_form_and_nil():
    assert decode(bytes.fromhex("03 93 a27331 07 a26869")) == (
        DATA, {"GUID": "s1", "Order": 7, "Data": b"hi"})
    assert decode(bytes.fromhex("ff c0")) == (ACK, {"GUID": "", "Ok": False, "Message": ""})
    assert decode(bytes.fromhex("03 81 a4 47554944 c0")) == (
        DATA, {"GUID": "", "Order": 0, "Data": None})
    assert encode(DATA, GUID="s1", Data=None)[:7] == b"\x03\x83\xa4Data\xc0"[:7]
    assert decode(bytes.fromhex("ff 82 a24f6b 01 a178 c70105ff")) == (
        ACK, {"GUID": "", "Ok": True, "Message": ""})


@pytest.mark.parametrize("message", [
    "", "09 80", "01", "01 a161", "01 81 a3 4b6579", "02 81 aa 52656d6f7465506f7274 ff",
    "02 81 aa 52656d6f7465506f7274 ce00010000", "03 81 a5 4f72646572 cb3ff0000000000000",
    "03 81 a5 4f72646572 cfffffffffffffffff", "ff 81 a2 4f6b 02", "03 81 a4 44617461 01",
    "03 c1"], ids=str)
def test_what_is_no_message(message):
    with pytest.raises(Malformed):
        decode(bytes.fromhex(message))
