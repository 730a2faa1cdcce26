"""What stands in an event file of TensorBoard: the messages, and how they are framed.

tensorboardX's own ``SummaryWriter`` hands messages over a queue to a thread. On a full disk that
thread dies, the queue fills, and the search would wait for ever: so they are framed here, for the
caller to write. Imports tensorboardX: only where a log is wanted.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from tensorboardX.proto import event_pb2, plugin_hparams_pb2, summary_pb2
from tensorboardX.record_writer import masked_crc32c

from results.record.columns import Scalar

# A message of protobuf: its classes are made when they are imported, so no type checker knows them.
Message = Any


def heading(wall_time: float) -> list[Message]:
    """Return what a file begins with: its version, and that all before it is to be forgotten.

    Args:
        wall_time: Seconds since 1970, as in all that follow.
    """
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    return [
        event_pb2.Event(wall_time=wall_time, file_version="brain.Event:2"),
        event_pb2.Event(wall_time=wall_time, step=0, session_log=start),
    ]


def scalars(values: Mapping[str, float | None], *, step: int, wall_time: float) -> Message:
    """Return a message with a scalar for each value that is a number; they are kept as float32."""
    rows = [
        summary_pb2.Summary.Value(tag=tag, simple_value=value)
        for tag, value in values.items()
        if value is not None
    ]
    summary = summary_pb2.Summary(value=rows)
    return event_pb2.Event(wall_time=wall_time, step=step, summary=summary)


def session(
    values: Mapping[str, Scalar | None], *, status: str, started: float, ended: float
) -> list[Message]:
    """Return the messages that make a row of the HParams page.

    None of them describes the whole experiment, as TensorBoard would take that of any one row for
    all: without it, the columns are put together from all rows.

    Args:
        values: Of the row; those that are none are left out.
        status: ``STATUS_SUCCESS``, ``STATUS_FAILURE`` or ``STATUS_UNKNOWN``.
        started: Seconds since 1970.
        ended: Likewise.
    """
    start = plugin_hparams_pb2.SessionStartInfo(start_time_secs=started)
    for name, value in values.items():
        if value is not None:
            _put(start.hparams[name], value)
    end = plugin_hparams_pb2.SessionEndInfo(status=status, end_time_secs=ended)
    return [
        _hparams("_hparams_/session_start_info", ended, session_start_info=start),
        _hparams("_hparams_/session_end_info", ended, session_end_info=end),
    ]


def framed(messages: Iterable[Message]) -> bytes:
    """Return messages as records of a TFRecord file."""
    return b"".join(_record(message.SerializeToString()) for message in messages)


def _put(row: Message, value: Scalar) -> None:
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, bool):
        row.bool_value = plain
    elif isinstance(plain, str):
        row.string_value = plain
    else:
        row.number_value = float(plain)


def _hparams(tag: str, wall_time: float, **content: Message) -> Message:
    data = plugin_hparams_pb2.HParamsPluginData(version=0, **content)
    plugin = summary_pb2.SummaryMetadata.PluginData(
        # The order of a map's entries changes from process to process otherwise.
        plugin_name="hparams",
        content=data.SerializeToString(deterministic=True),
    )
    metadata = summary_pb2.SummaryMetadata(plugin_data=plugin)
    summary = summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, metadata=metadata)])
    return event_pb2.Event(wall_time=wall_time, summary=summary)


def _record(data: bytes) -> bytes:
    """Return data behind their length, each with its checksum."""
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(data))
