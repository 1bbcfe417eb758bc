"""Counts what a trace's text holds, with Python's json and by the rules of the format."""

import gzip
import json
import pathlib


def text_of(path):
    data = pathlib.Path(path).read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def expected(text):
    """How many events there are, and of them slices (whole or begun), instants, and samples of counters."""
    trace = json.loads(text)
    events = trace["traceEvents"] if isinstance(trace, dict) else trace
    count = {"slices": 0, "instants": 0, "samples": 0}
    for event in events:
        phase = event.get("ph")
        if phase in ("X", "B"):
            count["slices"] += 1
        elif phase in ("i", "I", "R"):
            count["instants"] += 1
        elif phase == "C":
            count["samples"] += len(event.get("args", {}))
    return len(events), count


def viewer_samples(text):
    """How many samples Chrome's trace viewer makes of the counters: it takes a counter's series from its first event, and a sample of each
    from every event."""
    trace = json.loads(text)
    counters = {}
    for event in trace["traceEvents"] if isinstance(trace, dict) else trace:
        if event.get("ph") == "C":
            key = event.get("pid"), event.get("cat"), event.get("name"), event.get("id")
            counters.setdefault(key, []).append(len(event.get("args", {})))
    return sum(events[0] * len(events) for events in counters.values())
