// Package report turns numbers into text and files: vLLM's table and result file to the byte,
// our own report beside it, the same figures as JSON, Markdown and CSV, objectives and verdicts as JUnit, and
// requests as CSV and Parquet.
//
// Every report is a function of a summary, and a summary is a function of a run
// folder: what is printed at the end of a run can be printed again later, byte for byte.
package report
