"""Times HolisticTraceAnalysis on one trace: holistic.py FILE.

Prints seconds of importing it, of reading the file, and of the answers it shares with `servebench trace` (how busy the device is, why it
idles, kernels by name), and the peak of its memory. pip install HolisticTraceAnalysis
"""

import resource
import sys
import time

start = time.perf_counter()
import logging

logging.disable(logging.WARNING)
from hta.trace_analysis import TraceAnalysis

imported = time.perf_counter()
trace = TraceAnalysis(trace_files={0: sys.argv[1]}, trace_dir="")
read = time.perf_counter()
missing = []
for answer in (
    lambda: trace.get_temporal_breakdown(visualize=False),
    lambda: trace.get_idle_time_breakdown(ranks=[0], visualize=False),
    lambda: trace.get_gpu_kernel_breakdown(visualize=False),
    lambda: trace.get_comm_comp_overlap(visualize=False),
):
    try:
        answer()
    except Exception as e:  # a trace without such rows
        missing.append(type(e).__name__)
end = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"import {imported - start:.2f} s, read {read - imported:.2f} s, answers {end - read:.2f} s, peak {peak:.0f} MiB" + (f", without {missing}" if missing else ""))
