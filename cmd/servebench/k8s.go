package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"servebench/internal/lazy"
	"servebench/loadgen/scenario"
)

// k8sFlags are what a Kubernetes manifest depends on besides its scenario.
type k8sFlags struct {
	shards                        int
	image, pullPolicy, pullSecret string
	name, namespace, url          string
	cpu, memory                   string
	claim, storage, storageClass  string
	uploadImage, uploadCommand    string
	secret, traces, clock         string
	node                          []string
	startAt                       string
	startIn, deadline             time.Duration
	sets                          []string
	oneToANode                    bool
}

func k8sCommand() *cobra.Command {
	f := k8sFlags{cpu: "4", memory: "4Gi", storage: "10Gi", startIn: 5 * time.Minute}
	cmd := &cobra.Command{
		Use:   "k8s PRESET|FILE.yaml --shards N --image IMAGE",
		Short: "Print the manifest that runs a scenario on a Kubernetes cluster",
		Long: `k8s prints an Indexed Job whose pods send one shard of the load each and begin at the same moment, the scenario as a ConfigMap, and
where their run folders go: a volume claim that all pods share, with a second Job that merges them when it is let go; or an upload by an image
of yours. The server runs already: its address is --url.

The moment of the start stands in the manifest: apply it soon after it was printed. A pod that comes later says so, and the merge refuses it.`,
		Example: `  servebench k8s load.yaml --shards 8 --image registry/servebench:1 --url http://vllm:8000 | kubectl apply -f -
  servebench k8s load.yaml --shards 8 --image registry/servebench:1 --url http://vllm:8000 --start-in 10m --claim shared-results
  servebench k8s load.yaml --shards 8 --image registry/servebench:1 --url http://vllm:8000 \
    --upload-image registry/s3cmd:1 --upload-command 's3cmd sync "$RUN" s3://bench/'`,
		Args:              oneScenario,
		ValidArgsFunction: completeScenario,
		RunE: func(cmd *cobra.Command, args []string) error {
			return printFrom(cmd, args[0], f.sets, func(s *scenario.Scenario, text string) (string, error) {
				return f.manifest(s, text, time.Now())
			})
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.IntVar(&f.shards, "shards", 0, "the `number` of pods, which is that of shards")
	flags.StringVar(&f.image, "image", "", "the `image` of servebench (see the Dockerfile)")
	flags.StringVar(&f.url, "url", "", "the `address` of the server as pods see it (default the scenario's)")
	flags.StringArrayVar(&f.sets, "set", nil, "change a field of the scenario: `path=value`; may be repeated")
	flags.StringVar(&f.name, "name", "", "the Job's `name` (default the scenario's)")
	flags.StringVar(&f.namespace, "namespace", "", "the `namespace` (default the one of kubectl)")
	flags.DurationVar(&f.startIn, "start-in", f.startIn, "how long from now the load begins: pods must be scheduled, started and have made their prompts by then")
	flags.StringVar(&f.startAt, "start-at", "", "when the load begins, instead: a `time` such as 2026-01-31T12:00:00Z")
	flags.DurationVar(&f.deadline, "deadline", 0, "end the Job `after` so long; 0 is never")
	flags.StringVar(&f.cpu, "cpu", f.cpu, "`processors` of each pod; whole ones can be its own")
	flags.StringVar(&f.memory, "memory", f.memory, "`memory` of each pod")
	flags.BoolVar(&f.oneToANode, "one-to-a-node", false, "never put two pods on a node; without it they are kept apart where that can be")
	flags.StringArrayVar(&f.node, "node", nil, "take only nodes with this `label=value`; may be repeated")
	flags.StringVar(&f.claim, "claim", "", "put run folders on this volume `claim`, which all pods can write; without it one is made")
	flags.StringVar(&f.storage, "storage", f.storage, "the `size` of the claim that is made")
	flags.StringVar(&f.storageClass, "storage-class", "", "the storage `class` of the claim that is made; it must know ReadWriteMany")
	flags.StringVar(&f.uploadImage, "upload-image", "", "no claim: each pod hands its run folder to this `image`")
	flags.StringVar(&f.uploadCommand, "upload-command", "", "the shell `command` that it runs; $RUN is the run folder, $SHARD the shard's number")
	flags.StringVar(&f.secret, "secret", "", "a `secret` whose keys become variables, as OPENAI_API_KEY")
	flags.StringVar(&f.pullPolicy, "pull-policy", "", "when images are pulled: Always, IfNotPresent or Never (default the cluster's `rule`)")
	flags.StringVar(&f.pullSecret, "pull-secret", "", "the `secret` for pulling images")
	flags.StringVar(&f.traces, "trace-dir", "", "where the server's traces appear in the pod of shard 0: a `folder` on the claim, below /results")
	flags.StringVar(&f.clock, "clock-reference", "", "a time `server` (NTP) by which the nodes' clocks are compared")
	_ = cmd.MarkFlagRequired("shards")
	_ = cmd.MarkFlagRequired("image")
	return cmd
}

// Names and quantities as Kubernetes takes them.
var (
	k8sName     = lazy.Regexp(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	k8sQuantity = lazy.Regexp(`^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$`)
	notInName   = lazy.Regexp(`[^a-z0-9]+`)
)

// longestJobName leaves room for what pods' names add: their index and a suffix of six characters.
const longestJobName = 50

// jobName is the Job's name.
func (f *k8sFlags) jobName(s *scenario.Scenario) string {
	if f.name != "" {
		return f.name
	}
	name := strings.Trim(notInName().ReplaceAllString(strings.ToLower(s.Name), "-"), "-")
	if name == "" {
		return "servebench"
	}
	return strings.TrimRight(name[:min(len(name), longestJobName)], "-")
}

func (f *k8sFlags) address(s *scenario.Scenario) string {
	if f.url != "" || len(s.Server.Command) > 0 {
		return f.url
	}
	return s.Server.URL
}

func (f *k8sFlags) start(now time.Time) (time.Time, error) {
	if f.startAt != "" {
		return startOf(f.startAt, now)
	}
	return now.Add(f.startIn), nil
}

func (f *k8sFlags) check(s *scenario.Scenario, text string, now time.Time) error {
	var problems []error
	fault := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if f.shards < 1 {
		fault("--shards %d: give the number of pods", f.shards)
	} else if err := s.CheckShards(f.shards); err != nil {
		problems = append(problems, err)
	}
	if f.image == "" {
		fault("--image: the pods need an image with servebench in it: see the Dockerfile")
	}
	if name := f.jobName(s); !k8sName().MatchString(name) || len(name) > longestJobName {
		fault("--name %q: want at most %d small letters, digits and hyphens", name, longestJobName)
	}
	for flag, name := range map[string]string{"namespace": f.namespace, "claim": f.claim, "secret": f.secret, "pull-secret": f.pullSecret, "storage-class": f.storageClass} {
		if name != "" && !k8sName().MatchString(strings.ReplaceAll(name, ".", "-")) {
			fault("--%s %q: not a name of Kubernetes", flag, name)
		}
	}
	for flag, quantity := range map[string]string{"cpu": f.cpu, "memory": f.memory, "storage": f.storage} {
		if !k8sQuantity().MatchString(quantity) {
			fault("--%s %q: want a quantity such as 4, 500m or 8Gi", flag, quantity)
		}
	}
	for _, l := range f.node {
		if label, value, ok := strings.Cut(l, "="); !ok || label == "" || value == "" {
			fault("--node %q: want label=value", l)
		}
	}
	if p := f.pullPolicy; p != "" && p != "Always" && p != "IfNotPresent" && p != "Never" {
		fault("--pull-policy %q: have Always, IfNotPresent, Never", p)
	}
	if (f.uploadImage == "") != (f.uploadCommand == "") {
		fault("an upload needs both --upload-image and --upload-command")
	}
	if f.uploadImage != "" && f.claim != "" {
		fault("give --claim or an upload, not both")
	}
	if f.address(s) == "" {
		fault("no server: give --url, its address as pods see it: a Job does not start one")
	}
	if start, err := f.start(now); err != nil {
		fault("--start-at: %w", err)
	} else if !start.After(now) {
		fault("the start, %s, has passed", start.UTC().Format(time.RFC3339))
	}
	if f.deadline < 0 {
		fault("--deadline %v is negative", f.deadline)
	}
	const mostConfig = 1 << 20 // what a ConfigMap may hold
	if len(text) > mostConfig*9/10 {
		fault("the scenario has %d bytes, a ConfigMap holds no more than %d: take its data set out into a file", len(text), mostConfig)
	}
	return errors.Join(problems...)
}

// manifest is the text for kubectl apply.
func (f *k8sFlags) manifest(s *scenario.Scenario, text string, now time.Time) (string, error) {
	if err := f.check(s, text, now); err != nil {
		return "", err
	}
	name := f.jobName(s)
	start, err := f.start(now)
	if err != nil {
		return "", err
	}
	start = start.UTC().Truncate(time.Second)
	run := "/results/" + name + "-" + start.Format("20060102-150405")
	y := &yamlText{}

	y.line(0, "# %s, its load sent by %d pods that begin at %s: apply this before.", name, f.shards, start.Format(time.RFC3339))
	y.line(0, "#")
	y.line(0, "#   kubectl apply -f FILE")
	y.line(0, "#   kubectl wait --for=condition=complete --timeout=-1s job/%s", name)
	if f.uploadImage == "" {
		y.line(0, "#   kubectl patch job/%s-merge --type=merge -p '{\"spec\":{\"suspend\":false}}'", name)
		y.line(0, "#   kubectl wait --for=condition=complete --timeout=-1s job/%s-merge && kubectl logs job/%s-merge", name, name)
	}
	y.line(0, "apiVersion: v1")
	y.line(0, "kind: ConfigMap")
	f.metadata(y, name)
	y.line(0, "data:")
	y.line(1, "scenario.yaml: |2") // the indentation is said, in case the text begins with blanks
	for row := range strings.Lines(text) {
		if row = strings.TrimRight(row, "\n"); row == "" {
			y.line(0, "")
		} else {
			y.line(0, "    %s", row)
		}
	}
	if f.uploadImage == "" && f.claim == "" {
		f.volumeClaim(y, name)
	}

	y.line(0, "---")
	y.line(0, "apiVersion: batch/v1")
	y.line(0, "kind: Job")
	f.metadata(y, name)
	y.line(0, "spec:")
	y.line(1, "completionMode: Indexed")
	y.line(1, "completions: %d", f.shards)
	y.line(1, "parallelism: %d", f.shards)
	y.line(1, "# A pod that were started again would come too late; one that fails does not end the others.")
	y.line(1, "backoffLimitPerIndex: 0")
	if f.deadline > 0 {
		y.line(1, "activeDeadlineSeconds: %d", int64(f.deadline.Seconds()))
	}
	args := []string{
		"run", "/etc/servebench/scenario.yaml", "--url", f.address(s), "--shard", "$(JOB_COMPLETION_INDEX)/" + strconv.Itoa(f.shards),
		"--start-at", start.Format(time.RFC3339), "--out", run + "/shard-$(JOB_COMPLETION_INDEX)",
	}
	if f.traces != "" {
		args = append(args, "--trace-dir", f.traces)
	}
	if f.clock != "" {
		args = append(args, "--clock-reference", f.clock)
	}
	f.pod(y, name, func() {
		f.spread(y, name)
		if f.uploadImage != "" {
			y.line(3, "# The run comes first; the upload begins when it has ended well.")
			y.line(3, "initContainers:")
			f.container(y, "servebench", f.image, args, true)
			y.line(3, "containers:")
			f.upload(y, run)
			return
		}
		y.line(3, "containers:")
		f.container(y, "servebench", f.image, args, true)
	}, true)

	if f.uploadImage == "" {
		y.line(0, "---")
		y.line(0, "# Merges the shards. It waits until it is let go: see above.")
		y.line(0, "apiVersion: batch/v1")
		y.line(0, "kind: Job")
		f.metadata(y, name+"-merge")
		y.line(0, "spec:")
		y.line(1, "suspend: true")
		y.line(1, "backoffLimit: 0")
		merge := []string{"merge"}
		for k := range f.shards {
			merge = append(merge, run+"/shard-"+strconv.Itoa(k))
		}
		f.pod(y, name+"-merge", func() {
			y.line(3, "containers:")
			f.container(y, "merge", f.image, append(merge, "--out", run+"/merged"), false)
		}, false)
	}
	return y.String(), nil
}

func (f *k8sFlags) metadata(y *yamlText, name string) {
	y.line(0, "metadata:")
	y.line(1, "name: %s", quote(name))
	if f.namespace != "" {
		y.line(1, "namespace: %s", quote(f.namespace))
	}
	y.line(1, "labels:")
	y.line(2, "app.kubernetes.io/name: servebench")
	y.line(2, "app.kubernetes.io/instance: %s", quote(name))
}

func (f *k8sFlags) volumeClaim(y *yamlText, name string) {
	y.line(0, "---")
	y.line(0, "apiVersion: v1")
	y.line(0, "kind: PersistentVolumeClaim")
	f.metadata(y, name+"-results")
	y.line(0, "spec:")
	y.line(1, "accessModes: [ReadWriteMany]")
	if f.storageClass != "" {
		y.line(1, "storageClassName: %s", quote(f.storageClass))
	}
	y.line(1, "resources:")
	y.line(2, "requests:")
	y.line(3, "storage: %s", quote(f.storage))
}

// pod writes the template of a Job's pods; containers writes what differs.
func (f *k8sFlags) pod(y *yamlText, name string, containers func(), configured bool) {
	y.line(1, "template:")
	y.line(2, "metadata:")
	y.line(3, "labels:")
	y.line(4, "app.kubernetes.io/name: servebench")
	y.line(4, "app.kubernetes.io/instance: %s", quote(name))
	y.line(2, "spec:")
	y.line(3, "restartPolicy: Never")
	y.line(3, "automountServiceAccountToken: false")
	y.line(3, "enableServiceLinks: false")
	y.line(3, "# Time to report when the pod is told to end.")
	y.line(3, "terminationGracePeriodSeconds: 60")
	y.line(3, "securityContext:")
	y.line(4, "runAsNonRoot: true")
	for _, key := range []string{"runAsUser", "runAsGroup", "fsGroup"} {
		y.line(4, "%s: 65532", key)
	}
	y.line(4, "seccompProfile: {type: RuntimeDefault}")
	if f.pullSecret != "" {
		y.line(3, "imagePullSecrets:")
		y.line(4, "- name: %s", quote(f.pullSecret))
	}
	if len(f.node) > 0 {
		y.line(3, "nodeSelector:")
		for _, l := range f.node {
			label, value, _ := strings.Cut(l, "=")
			y.line(4, "%s: %s", quote(label), quote(value))
		}
	}
	containers()
	y.line(3, "volumes:")
	if configured {
		y.line(4, "- name: scenario")
		y.line(5, "configMap: {name: %s}", quote(name))
	}
	y.line(4, "- name: tmp")
	y.line(5, "emptyDir: {}")
	y.line(4, "- name: results")
	switch {
	case f.uploadImage != "":
		y.line(5, "emptyDir: {}")
	case f.claim != "":
		y.line(5, "persistentVolumeClaim: {claimName: %s}", quote(f.claim))
	default:
		y.line(5, "persistentVolumeClaim: {claimName: %s}", quote(strings.TrimSuffix(name, "-merge")+"-results"))
	}
}

// spread keeps the pods of the Job apart: two on a node share its network and its processors.
func (f *k8sFlags) spread(y *yamlText, name string) {
	y.line(3, "affinity:")
	y.line(4, "podAntiAffinity:")
	if f.oneToANode {
		y.line(5, "requiredDuringSchedulingIgnoredDuringExecution:")
		y.line(6, "- topologyKey: kubernetes.io/hostname")
		y.line(7, "labelSelector: {matchLabels: {app.kubernetes.io/instance: %s}}", quote(name))
		return
	}
	y.line(5, "preferredDuringSchedulingIgnoredDuringExecution:")
	y.line(6, "- weight: 100")
	y.line(7, "podAffinityTerm:")
	y.line(8, "topologyKey: kubernetes.io/hostname")
	y.line(8, "labelSelector: {matchLabels: {app.kubernetes.io/instance: %s}}", quote(name))
}

// container writes one container of servebench.
func (f *k8sFlags) container(y *yamlText, name, image string, args []string, configured bool) {
	y.line(4, "- name: %s", name)
	y.line(5, "image: %s", quote(image))
	if f.pullPolicy != "" {
		y.line(5, "imagePullPolicy: %s", f.pullPolicy)
	}
	y.line(5, "args:")
	for _, a := range args {
		y.line(6, "- %s", quote(a))
	}
	y.line(5, "env:")
	y.line(6, "- {name: HOME, value: /tmp}")
	y.line(6, "- {name: GOMEMLIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory}}}")
	if f.secret != "" && configured {
		y.line(5, "envFrom:")
		y.line(6, "- secretRef: {name: %s}", quote(f.secret))
	}
	f.confine(y)
	y.line(5, "volumeMounts:")
	if configured {
		y.line(6, "- {name: scenario, mountPath: /etc/servebench, readOnly: true}")
	}
	y.line(6, "- {name: tmp, mountPath: /tmp}")
	y.line(6, "- {name: results, mountPath: /results}")
}

// confine writes what a container may use and do. Requests that equal limits keep its processors its own.
func (f *k8sFlags) confine(y *yamlText) {
	y.line(5, "resources:")
	y.line(6, "requests: {cpu: %s, memory: %s}", quote(f.cpu), quote(f.memory))
	y.line(6, "limits: {cpu: %s, memory: %s}", quote(f.cpu), quote(f.memory))
	y.line(5, "securityContext:")
	y.line(6, "allowPrivilegeEscalation: false")
	y.line(6, "readOnlyRootFilesystem: true")
	y.line(6, "capabilities: {drop: [ALL]}")
}

// upload writes the container that brings the run folder away.
func (f *k8sFlags) upload(y *yamlText, run string) {
	y.line(4, "- name: upload")
	y.line(5, "image: %s", quote(f.uploadImage))
	y.line(5, "command: [/bin/sh, -c, %s]", quote(f.uploadCommand))
	y.line(5, "env:")
	y.line(6, "- {name: HOME, value: /tmp}")
	y.line(6, "# JOB_COMPLETION_INDEX comes last of all variables, and a variable is made of earlier ones only.")
	y.line(6, "- {name: SHARD, valueFrom: {fieldRef: {fieldPath: \"metadata.annotations['batch.kubernetes.io/job-completion-index']\"}}}")
	y.line(6, "- {name: RUN, value: %s}", quote(run+"/shard-$(SHARD)"))
	if f.secret != "" {
		y.line(5, "envFrom:")
		y.line(6, "- secretRef: {name: %s}", quote(f.secret))
	}
	f.confine(y)
	y.line(5, "volumeMounts:")
	y.line(6, "- {name: tmp, mountPath: /tmp}")
	y.line(6, "- {name: results, mountPath: /results, readOnly: true}")
}

// yamlText is YAML being written, two blanks a level.
type yamlText struct{ strings.Builder }

func (y *yamlText) line(level int, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if text != "" {
		text = strings.Repeat("  ", level) + text
	}
	y.WriteString(text + "\n")
}

// quote is a text as a scalar that cannot be taken for anything else. JSON's form of a text is YAML's too.
func quote(text string) string {
	b := new(strings.Builder)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(text) // a text always has a JSON form
	return strings.TrimRight(b.String(), "\n")
}
