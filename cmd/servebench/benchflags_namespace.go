package main

import (
	"cmp"
	"strings"

	"servebench/internal/argparse"
	"servebench/results"
)

// namespace is the line that vllm bench serve prints before anything else: every flag and its
// value as Python spells them, in the order of its table, headers hidden. Scripts read it, so even
// the parts that mean nothing here are there. Our own flags come last, when they were given.
func (o *benchOptions) namespace(getenv func(string) string) string {
	var parts, own []string
	for v := range o.values.All() {
		value := v.Value
		if v.Option.Secret && value != nil && !isEmptyList(value) {
			value = results.Redacted
		}
		part := v.Option.Dest() + "=" + argparse.Repr(value)
		switch {
		case !v.Option.Extension:
			parts = append(parts, part)
		case v.By != argparse.Default:
			own = append(own, part)
		}
	}
	level := cmp.Or(strings.ToUpper(getenv("VLLM_LOGGING_LEVEL")), "INFO")
	const python = "subparser='bench', bench_type='serve', dispatch_function=<function BenchmarkServingSubcommand.cmd at 0xADDR>, "
	logging := ", log_config_file=None, logging_config=LoggingConfig(log_level=" + argparse.Repr(level) +
		", formatter='text', configure_logging=True, pylogging_config_file=None)"
	line := "Namespace(" + python + strings.Join(parts, ", ") + logging
	if own != nil {
		line += ", " + strings.Join(own, ", ")
	}
	return line + ")"
}

func isEmptyList(value any) bool {
	list, ok := value.([]string)
	return ok && len(list) == 0
}
