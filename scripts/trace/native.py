"""Decodes traces in Perfetto's own form with Perfetto's own bindings: native.py JSON PFTRACE [JSON PFTRACE...]

The bindings are those of the Python package perfetto. Each has to decode, without a field that the bindings do not know, to as many slices,
instants and samples of counters as the text that it was made from holds, counted here by Python's json. Exits with 1 if one does not.
"""

import pathlib
import sys

from count import expected, text_of
from google.protobuf import unknown_fields
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

KINDS = {TrackEvent.TYPE_SLICE_BEGIN: "slices", TrackEvent.TYPE_INSTANT: "instants", TrackEvent.TYPE_COUNTER: "samples"}


def main():
    failed = 0
    for json_path, native_path in zip(sys.argv[1::2], sys.argv[2::2]):
        events, want = expected(text_of(json_path))
        trace = Trace()
        trace.ParseFromString(text_of(native_path))
        got = {"slices": 0, "instants": 0, "samples": 0}
        ends = tracks = unknown = 0
        for packet in trace.packet:
            unknown += len(unknown_fields.UnknownFieldSet(packet))
            tracks += packet.HasField("track_descriptor")
            if packet.HasField("track_event"):
                unknown += len(unknown_fields.UnknownFieldSet(packet.track_event))
                if packet.track_event.type in KINDS:
                    got[KINDS[packet.track_event.type]] += 1
                elif packet.track_event.type == TrackEvent.TYPE_SLICE_END:
                    ends += 1
        name = pathlib.Path(native_path).name
        if got != want or ends != got["slices"] or unknown:
            failed += 1
            print(f"FAIL {name}: found {got}, {ends} ends, {unknown} unknown fields; the text holds {want}")
        else:
            print(f"ok   {name}: {len(trace.packet)} packets, {tracks} tracks; {got['slices']} slices, {got['instants']} instants, {got['samples']} samples of {events} events")
    sys.exit(failed > 0)


main()
