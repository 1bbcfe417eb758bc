// Package numpy reproduces, bit for bit, the random streams and sums of NumPy and
// CPython, so that the same seed gives the same prompts, the same arrivals and the
// same statistics as the Python client of vLLM.
//
// Legacy is numpy.random's global generator (and RandomState), Generator is
// numpy.random.default_rng, and Python is the standard library's random module.
// Their states are plain values that can be copied; none is safe for concurrent use.
// Sum, Mean, Std, Median and Percentile add in NumPy's order.
//
// Everything was compared with NumPy 2.3 and CPython 3.11 on x86-64 with fused
// multiply-add.
package numpy
