"""The content of TensorBoard's event files: their messages, and the encoding of a file.

The caller writes the file. The ``SummaryWriter`` of tensorboardX would pass messages to a thread
over a queue; on a full disk the thread dies, the queue fills and the search waits for ever.

Imports tensorboardX: import this module only for a log of TensorBoard.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from tensorboardX.proto import event_pb2, plugin_hparams_pb2, summary_pb2
from tensorboardX.record_writer import masked_crc32c

from results.record.columns import Scalar

# A protobuf message; its class is created at import, so type checkers do not know it.
Message = Any


def header_messages(wall_time: float) -> list[Message]:
    """Return the first messages of a file: its version, and that it replaces earlier files.

    Args:
        wall_time: Seconds since 1970.
    """
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    return [
        event_pb2.Event(wall_time=wall_time, file_version="brain.Event:2"),
        event_pb2.Event(wall_time=wall_time, step=0, session_log=start),
    ]


def scalars_message(values: Mapping[str, float | None], *, step: int, wall_time: float) -> Message:
    """Return a message with a float32 scalar for each value that is not None."""
    scalars = [
        summary_pb2.Summary.Value(tag=tag, simple_value=value)
        for tag, value in values.items()
        if value is not None
    ]
    summary = summary_pb2.Summary(value=scalars)
    return event_pb2.Event(wall_time=wall_time, step=step, summary=summary)


def hparams_messages(
    values: Mapping[str, Scalar | None], *, status: str, started: float, ended: float
) -> list[Message]:
    """Return the messages for a row of the HParams page.

    They do not describe the experiment: TensorBoard would apply the description in one file to all.
    Without it, TensorBoard collects the columns from all rows.

    Args:
        values: The values of the row; None is left out.
        status: ``STATUS_SUCCESS``, ``STATUS_FAILURE`` or ``STATUS_UNKNOWN``.
        started: When the trial started, in seconds since 1970.
        ended: When the trial ended, in seconds since 1970.
    """
    start = plugin_hparams_pb2.SessionStartInfo(start_time_secs=started)
    for name, value in values.items():
        if value is not None:
            _set_value(start.hparams[name], value)
    end = plugin_hparams_pb2.SessionEndInfo(status=status, end_time_secs=ended)
    return [
        _hparams_message("_hparams_/session_start_info", ended, session_start_info=start),
        _hparams_message("_hparams_/session_end_info", ended, session_end_info=end),
    ]


def encode_messages(messages: Iterable[Message]) -> bytes:
    """Return messages as records of a TFRecord file."""
    return b"".join(_record(message.SerializeToString()) for message in messages)


def _set_value(cell: Message, value: Scalar) -> None:
    python_value = value.item() if isinstance(value, np.generic) else value
    if isinstance(python_value, bool):
        cell.bool_value = python_value
    elif isinstance(python_value, str):
        cell.string_value = python_value
    else:
        cell.number_value = float(python_value)


def _hparams_message(tag: str, wall_time: float, **content: Message) -> Message:
    data = plugin_hparams_pb2.HParamsPluginData(version=0, **content)
    plugin = summary_pb2.SummaryMetadata.PluginData(
        # Otherwise the order of map entries differs between processes.
        plugin_name="hparams",
        content=data.SerializeToString(deterministic=True),
    )
    metadata = summary_pb2.SummaryMetadata(plugin_data=plugin)
    summary = summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, metadata=metadata)])
    return event_pb2.Event(wall_time=wall_time, summary=summary)


def _record(data: bytes) -> bytes:
    """Return the length and the data, each followed by its checksum."""
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(data))
