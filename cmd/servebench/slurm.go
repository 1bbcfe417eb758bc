package main

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"servebench/internal/lazy"
	"servebench/loadgen/scenario"
)

// slurmFlags are what a Slurm script depends on besides its scenario.
type slurmFlags struct {
	ntasks, nodes, cpus     int
	limit, startIn          time.Duration
	partition, account, url string
	sbatch, setup, sets     []string
	traces, clock, program  string
	runFolder               string
}

func slurmCommand() *cobra.Command {
	f := slurmFlags{cpus: 4, limit: time.Hour, startIn: 30 * time.Second, program: "servebench"}
	cmd := &cobra.Command{
		Use:   "slurm PRESET|FILE.yaml --ntasks N",
		Short: "Print a batch script that runs a scenario on a Slurm cluster",
		Long: `slurm prints a script for sbatch. It starts the scenario's server on the first node (or uses the one at --url), sends the load from N
tasks that begin at the same moment, one shard each, and merges what they recorded. The run folder must be on a file system that all nodes
share. The job's exit code is the worst of its tasks and of the merge.`,
		Example: `  servebench slurm vllm-torch --ntasks 4 --nodes 2 --partition gpu --sbatch --gres=gpu:8 > job.sh && sbatch job.sh
  servebench slurm load.yaml --ntasks 16 --url http://inference:8000 --setup "module load servebench" | sbatch`,
		Args:              oneScenario,
		ValidArgsFunction: completeScenario,
		RunE: func(cmd *cobra.Command, args []string) error {
			return printFrom(cmd, args[0], f.sets, func(s *scenario.Scenario, text string) (string, error) {
				return f.script(s, text)
			})
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.IntVar(&f.ntasks, "ntasks", 0, "the `number` of tasks, which is that of shards")
	flags.IntVar(&f.nodes, "nodes", 0, "the `number` of nodes; 0 leaves it to Slurm")
	flags.IntVar(&f.cpus, "cpus-per-task", f.cpus, "`processors` of each task")
	flags.DurationVar(&f.limit, "time", f.limit, "the job's time `limit`")
	flags.StringVar(&f.partition, "partition", "", "the `partition`")
	flags.StringVar(&f.account, "account", "", "the `account`")
	flags.StringArrayVar(&f.sbatch, "sbatch", nil, "another `option` of sbatch, as in --gres=gpu:8; may be repeated")
	flags.StringArrayVar(&f.setup, "setup", nil, "a `line` to run before all else, as in \"module load cuda\"; may be repeated")
	flags.StringVar(&f.url, "url", "", "use the server that runs at this `address`; nothing is started then")
	flags.StringArrayVar(&f.sets, "set", nil, "change a field of the scenario: `path=value`; may be repeated")
	flags.StringVar(&f.traces, "trace-dir", "", "the `folder` in which the traces of a server at --url appear on the nodes")
	flags.StringVar(&f.runFolder, "out", "", "the run `folder`, shared by all nodes (default runs/NAME-JOBID where sbatch was called)")
	flags.DurationVar(&f.startIn, "start-in", f.startIn, "how long after their start the tasks begin the load: they must have made their prompts by then")
	flags.StringVar(&f.clock, "clock-reference", "", "a time `server` (NTP) by which the nodes' clocks are compared")
	flags.StringVar(&f.program, "servebench", f.program, "the `program` as the nodes find it")
	_ = cmd.MarkFlagRequired("ntasks")
	return cmd
}

// script is the batch script of a scenario whose text is given.
func (f *slurmFlags) script(s *scenario.Scenario, text string) (string, error) {
	if err := f.check(s); err != nil {
		return "", err
	}
	name := s.Name
	if name == "" {
		name = "servebench"
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }

	line("#!/bin/bash")
	line("#SBATCH --job-name=%s", name)
	line("#SBATCH --ntasks=%d", f.ntasks)
	if f.nodes > 0 {
		line("#SBATCH --nodes=%d", f.nodes)
	}
	line("#SBATCH --cpus-per-task=%d", f.cpus)
	line("#SBATCH --time=%s", slurmTime(f.limit))
	if f.partition != "" {
		line("#SBATCH --partition=%s", f.partition)
	}
	if f.account != "" {
		line("#SBATCH --account=%s", f.account)
	}
	for _, option := range f.sbatch {
		line("#SBATCH %s", option)
	}
	line("#SBATCH --output=%%x-%%j.log")
	line("#")
	line("# %s, its load sent by %d tasks that begin at the same moment, one shard each.", name, f.ntasks)
	line("")
	line("set -uo pipefail")
	for _, l := range f.setup {
		line("%s", l)
	}
	line("")
	line("# All nodes must see this folder.")
	folder := `"$PWD/runs/$SLURM_JOB_NAME-$SLURM_JOB_ID"`
	if f.runFolder != "" {
		folder = shellWord(f.runFolder)
	}
	line("export RUN=%s", folder)
	line(`mkdir -p "$RUN" || exit`)
	end := "SCENARIO"
	for strings.Contains(text, "\n"+end+"\n") {
		end += "_"
	}
	line(`cat > "$RUN/scenario.yaml" <<'%s' || exit`, end)
	b.WriteString(strings.TrimRight(text, "\n") + "\n")
	line("%s", end)
	line("")

	if f.launches(s) {
		f.server(&b, s)
	} else {
		line("export URL=%s", shellWord(f.address(s)))
		line("")
	}

	traces := ""
	switch {
	case s.Profile == nil:
	case f.launches(s):
		traces = ` --trace-dir "$RUN/server-traces"`
	case f.traces != "":
		traces = " --trace-dir " + shellWord(f.traces)
	}
	clock := ""
	if f.clock != "" {
		clock = " --clock-reference " + shellWord(f.clock)
	}
	line("# The load. Each task sends its shard: request i is one of shard i mod %d. A task that fails does not end the others.", f.ntasks)
	line(`START=$(date -u -d "+%d seconds" +%%Y-%%m-%%dT%%H:%%M:%%SZ) || exit`, int(f.startIn.Seconds()))
	line(`srun --overlap --ntasks=%d --cpus-per-task=%d --kill-on-bad-exit=0 --wait=0 --output="$RUN/task-%%t.log" \`, f.ntasks, f.cpus)
	line(`  bash -c 'exec "$@" --shard "$SLURM_PROCID/$SLURM_NTASKS" --out "$RUN/shard-$SLURM_PROCID"' shard \`)
	line(`  %s run "$RUN/scenario.yaml" --url "$URL" --start-at "$START"%s%s`, shellWord(f.program), traces, clock)
	line("LOAD=$?")
	line("")
	line("# The merge names what is missing. What the other tasks recorded is whole all the same.")
	line(`%s merge "$RUN"/shard-*/ --out "$RUN/merged"`, shellWord(f.program))
	line("MERGE=$?")
	line("")
	line("exit $((LOAD > MERGE ? LOAD : MERGE))")
	return b.String(), nil
}

// launches says whether the script starts the server.
func (f *slurmFlags) launches(s *scenario.Scenario) bool {
	return f.url == "" && len(s.Server.Command) > 0
}

// address is that of a server that is running.
func (f *slurmFlags) address(s *scenario.Scenario) string {
	if f.url != "" {
		return f.url
	}
	return s.Server.URL
}

// onOneLine is what an option of sbatch must be.
var onOneLine = lazy.Regexp(`^[^\r\n]+$`)

func (f *slurmFlags) check(s *scenario.Scenario) error {
	var problems []error
	fault := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if f.ntasks < 1 {
		fault("--ntasks %d: give the number of tasks", f.ntasks)
	} else if err := s.CheckShards(f.ntasks); err != nil {
		problems = append(problems, err)
	}
	if f.nodes < 0 || f.nodes > f.ntasks && f.ntasks > 0 {
		fault("--nodes %d: %d tasks take up to %d nodes", f.nodes, f.ntasks, f.ntasks)
	}
	if f.cpus < 1 {
		fault("--cpus-per-task %d: give at least 1", f.cpus)
	}
	if f.limit < time.Minute {
		fault("--time %v: give at least a minute", f.limit)
	}
	if f.startIn < time.Second {
		fault("--start-in %v: give at least a second", f.startIn)
	}
	for _, option := range slices.Concat(f.sbatch, []string{"-" + f.partition, "-" + f.account}) {
		if !onOneLine().MatchString(option) || !strings.HasPrefix(option, "-") {
			fault("--sbatch %q: want one option on one line, as in --gres=gpu:8", option)
		}
	}
	switch address := f.address(s); {
	case f.launches(s):
		if s.Server.URL == "" {
			fault("server.url: the script must know at which port the server will answer")
		}
		if _, err := url.Parse(s.Server.URL); err != nil {
			fault("server.url: %v", err)
		}
		if f.nodes != 1 && bindsLoopback(s.Server.Command) {
			fault("server.command: the server listens on this machine's own address only: other nodes cannot reach it; take out --host, or give --nodes 1")
		}
		for _, text := range slices.Concat([]string{s.Server.Dir}, s.Server.Command) {
			if strings.Contains(text, "${script}") || strings.Contains(text, "${dest}") {
				fault("server: %q: a batch script has no such folder", text)
			}
		}
	case address == "":
		fault("no server: give --url http://host:port, or a scenario with server.command")
	}
	return errors.Join(problems...)
}

// bindsLoopback says whether a command tells its server to listen on its own machine only.
func bindsLoopback(words []string) bool {
	for i, w := range words {
		value, ok := strings.CutPrefix(w, "--host=")
		if !ok && w == "--host" && i+1 < len(words) {
			value, ok = words[i+1], true
		}
		if ok && (value == "localhost" || strings.HasPrefix(value, "127.") || value == "::1") {
			return true
		}
	}
	return false
}

// server writes the part that starts the server on the first node and waits for it.
func (f *slurmFlags) server(b *strings.Builder, s *scenario.Scenario) {
	line := func(format string, args ...any) { fmt.Fprintf(b, format+"\n", args...) }
	u, _ := url.Parse(s.Server.URL) // was checked
	host := "$HEAD"
	if f.nodes == 1 && bindsLoopback(s.Server.Command) {
		host = u.Hostname()
	}
	port := u.Port()
	if port != "" {
		port = ":" + port
	}
	line("# The server, on the first node, with all processors of the job there.")
	line(`HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)`)
	line(`export URL="%s://%s%s%s"`, u.Scheme, host, port, strings.TrimRight(u.EscapedPath(), "/"))
	on := `srun --overlap --nodes=1 --ntasks=1 --cpus-per-task="$SLURM_CPUS_ON_NODE" --nodelist="$HEAD"`
	var env []string
	for _, key := range sortedKeys(s.Server.Env) {
		env = append(env, shellWord(key+"="+s.Server.Env[key]))
	}
	with := ""
	if len(env) > 0 {
		with = " env " + strings.Join(env, " ")
	}
	for _, words := range s.Server.Before {
		line("%s%s %s || exit", on, with, shellWords(words))
	}
	if s.Profile != nil {
		line(`mkdir -p "$RUN/server-traces" || exit`)
	}
	dir := ""
	if s.Server.Dir != "" {
		line("mkdir -p %s || exit", shellWord(s.Server.Dir))
		dir = " --chdir=" + shellWord(s.Server.Dir)
	}
	command := shellWords(s.Server.Command)
	if s.Profile != nil && s.Profile.Kind != "none" && s.Profile.Kind != "sglang" && s.Server.ProfilerFlag != "never" && !slices.Contains(s.Server.Command, "--profiler-config") {
		flag := shellWords(scenario.TraceFlag("${run}/server-traces"))
		if s.Server.ProfilerFlag == "always" {
			command += " " + flag
		} else {
			line("# vLLM 0.13 and later are told by a flag where to write traces, older ones by the environment.")
			line("PROFILER=()")
			line(`if python3 -c 'import sys; from importlib.metadata import version as v; sys.exit(tuple(map(int, v("vllm").split(".")[:2])) < (0, 13))' 2>/dev/null; then`)
			line("  PROFILER=(%s)", flag)
			line("fi")
			command += ` "${PROFILER[@]}"`
		}
	}
	line(`%s%s --output="$RUN/server.log" \`, on, dir)
	line(" %s %s &", with, command)
	line("SERVER=$!")
	line(`trap 'kill "$SERVER" 2>/dev/null; wait "$SERVER" 2>/dev/null' EXIT`)
	ready := `curl -fsS --noproxy '*' -o /dev/null "$URL/health" 2>/dev/null`
	if s.Server.ReadyLog != "" {
		ready += " && grep -qE " + shellWord(s.Server.ReadyLog) + ` "$RUN/server.log"`
	}
	line("until %s; do", ready)
	line(`  kill -0 "$SERVER" 2>/dev/null || { echo "the server ended before it was ready: see $RUN/server.log" >&2; exit 1; }`)
	line("  sleep 1")
	line("done")
	line("")
}

func sortedKeys(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// slurmTime is a limit as Slurm writes it.
func slurmTime(d time.Duration) string {
	minutes := int(d.Round(time.Minute).Minutes())
	text := fmt.Sprintf("%02d:%02d:00", minutes/60%24, minutes%60)
	if days := minutes / (24 * 60); days > 0 {
		return fmt.Sprintf("%d-%s", days, text)
	}
	return text
}

// shellPlaceholder is what a scenario fills in when it runs, and the shell must here.
var shellPlaceholder = lazy.Regexp(`\$\{(run|env:[A-Za-z_][A-Za-z0-9_]*|file:[^}]*)\}`)

// plainWord is what the shell takes as it is.
var plainWord = lazy.Regexp(`^[A-Za-z0-9_@%+=:,./-]+$`)

// shellWord is a text as one word of a shell's command line. The scenario's placeholders become the shell's variables.
func shellWord(text string) string {
	var b strings.Builder
	literal := func(s string) {
		switch {
		case s == "":
		case plainWord().MatchString(s):
			b.WriteString(s)
		default:
			b.WriteString("'" + strings.ReplaceAll(s, "'", `'\''`) + "'")
		}
	}
	at := 0
	for _, place := range shellPlaceholder().FindAllStringSubmatchIndex(text, -1) {
		literal(text[at:place[0]])
		at = place[1]
		switch kind, name, _ := strings.Cut(text[place[2]:place[3]], ":"); kind {
		case "run":
			b.WriteString(`"$RUN"`)
		case "env":
			b.WriteString(`"$` + name + `"`)
		case "file":
			b.WriteString(`"$(cat ` + shellWord(name) + `)"`)
		}
	}
	literal(text[at:])
	if b.Len() == 0 {
		return "''"
	}
	return b.String()
}

func shellWords(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = shellWord(w)
	}
	return strings.Join(quoted, " ")
}
