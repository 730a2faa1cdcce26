"""The content of TensorBoard's event files: their records, and their messages as TensorBoard reads them."""

import struct

import numpy as np
import pytest
from tensorboardX.proto import event_pb2, plugin_hparams_pb2

from search.loggers.tensorboard_file import (
    encode_messages,
    header_messages,
    hparams_messages,
    scalars_message,
)

# The scalars that each kind of a cell of the HParams page holds.
KINDS = {"number_value": float, "string_value": str, "bool_value": bool}


def crc32c(data):
    """Return the CRC-32C of bytes: the polynomial 0x1EDC6F41, bit by bit from the lowest."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    """Return the checksum of a record: rotated right by 15 bits, and a constant added."""
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def decode(content):
    """Return the messages of a file, whose checksums must fit."""
    messages = []
    while content:
        length, content = content[:8], content[8:]
        assert content[:4] == masked(length), "the checksum of the length"
        [size] = struct.unpack("<Q", length)
        data, content = content[4 : 4 + size], content[4 + size :]
        assert content[:4] == masked(data), "the checksum of the message"
        content = content[4:]
        messages.append(event_pb2.Event.FromString(data))
    return messages


def test_the_checksum_of_this_test_is_that_of_its_definition():
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C


def test_messages_are_records_with_two_checksums():
    messages = [scalars_message({"loss": 0.5}, step=n, wall_time=n) for n in range(3)]
    assert decode(encode_messages(messages)) == messages


def test_no_message_is_an_empty_file():
    assert encode_messages([]) == b""


def test_a_file_begins_with_its_version_and_replaces_earlier_files():
    version, start = header_messages(12.5)
    assert (version.wall_time, version.file_version) == (12.5, "brain.Event:2")
    assert (start.wall_time, start.step) == (12.5, 0)
    assert start.session_log.status == event_pb2.SessionLog.START


def test_each_number_of_an_epoch_is_a_scalar():
    message = scalars_message({"loss": 0.5, "val_loss": None, "auc": 0.25}, step=3, wall_time=9.0)
    assert (message.step, message.wall_time) == (3, 9.0)
    assert [(one.tag, one.simple_value) for one in message.summary.value] == [
        ("loss", 0.5),
        ("auc", 0.25),
    ]


def row(values, **options):
    """Return both messages of a row, and their content for the HParams plugin."""
    options = {"status": "STATUS_SUCCESS", "started": 5.0, "ended": 8.0} | options
    messages = hparams_messages(values, **options)
    contents = []
    for message in messages:
        [value] = message.summary.value
        assert value.metadata.plugin_data.plugin_name == "hparams"
        content = value.metadata.plugin_data.content
        contents.append(plugin_hparams_pb2.HParamsPluginData.FromString(content))
    return messages, contents


def test_a_row_has_the_times_of_its_trial_and_its_status():
    messages, (start, end) = row({"units": 8}, status="STATUS_FAILURE")
    assert [message.wall_time for message in messages] == [8.0, 8.0]
    assert [message.summary.value[0].tag for message in messages] == [
        "_hparams_/session_start_info",
        "_hparams_/session_end_info",
    ]
    assert start.session_start_info.start_time_secs == 5.0
    assert end.session_end_info.end_time_secs == 8.0
    assert "status: STATUS_FAILURE" in str(end.session_end_info)
    assert (start.version, end.version) == (0, 0)


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (8, 8.0), (1e-5, 1e-5), (False, False), (True, True), ("ReLU, geglättet", "ReLU, geglättet"),
        (np.int64(3), 3.0), (np.float32(0.5), 0.5), (np.bool_(True), True), (np.str_("tanh"), "tanh"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_value_of_any_kind_keeps_its_type(value, cell):
    _, (start, _) = row({"head/rate (log)": value})
    [(name, message)] = start.session_start_info.hparams.items()
    kind = message.WhichOneof("kind")
    assert (name, getattr(message, kind)) == ("head/rate (log)", cell)
    assert KINDS[kind] is type(cell)


def test_a_value_that_is_none_is_left_out():
    _, (start, _) = row({"units": None, "rate": 0.5})
    assert list(start.session_start_info.hparams) == ["rate"]


def test_the_same_row_is_written_with_the_same_bytes():
    values = {f"name_{number}": number for number in range(50)}
    turned = dict(reversed(values.items()))
    contents = [encode_messages(row(one)[0]) for one in (values, turned)]
    assert contents[0] == contents[1]


def test_tensorboard_reads_what_is_written(tmp_path):
    """With the reader of TensorBoard itself."""
    from tensorboard.backend.event_processing import event_file_loader

    messages = [
        *header_messages(1.0),
        scalars_message({"loss": 0.5}, step=1, wall_time=2.0),
        *hparams_messages({"units": 8}, status="STATUS_SUCCESS", started=1.0, ended=3.0),
    ]
    path = tmp_path / "events.out.tfevents.000001"
    path.write_bytes(encode_messages(messages))
    events = list(event_file_loader.LegacyEventFileLoader(str(path)).Load())
    assert [event.wall_time for event in events] == [1.0, 1.0, 2.0, 3.0, 3.0]
    assert events[2].summary.value[0].simple_value == 0.5
