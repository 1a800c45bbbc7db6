package meta

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"ninox/cmd/internal/app"
	"ninox/nino/meta"
)

type manifestOptions struct {
	Scheduler string
	Plan      string
	Out       string
	Shards    int
	Workers   int
	Image     string
	Claim     string
	Secret    string
}

const (
	kubernetes = "kubernetes"
	slurm      = "slurm"
)

func newManifest(a *app.App, run func(context.Context, *app.App, manifestOptions) error) *cobra.Command {
	var o manifestOptions
	cmd := &cobra.Command{
		Use:   "manifest kubernetes|slurm PLAN",
		Short: "Print what makes a cluster collect a plan",
		Long: `Prints an Indexed Job for Kubernetes, or a job array for Slurm, that runs 'ninox meta collect' in
--shards processes. The store is a folder that all of them see, or a bucket. Processes that are
killed and started again make only the runs that are missing.`,
		Example: `  ninox meta manifest slurm plan.json --shards 16 --out /shared/trajectories > collect.sh && sbatch collect.sh
  ninox meta manifest kubernetes plan.json --shards 16 --out store --image ninox --claim trajectories | kubectl apply -f -
  ninox meta manifest kubernetes plan.json --shards 16 --out s3://bucket --image ninox --secret s3-keys | kubectl apply -f -`,
		Args:      cobra.ExactArgs(2),
		ValidArgs: []string{kubernetes, slurm},
		RunE: func(c *cobra.Command, args []string) error {
			o.Scheduler, o.Plan = args[0], args[1]
			if err := o.check(c); err != nil {
				return err
			}
			return run(c.Context(), a, o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.Out, "out", "o", "", "store: the URL of a bucket, or a folder that all processes see; for kubernetes, in the volume of --claim")
	f.IntVar(&o.Shards, "shards", 0, "processes that share the plan")
	f.IntVar(&o.Workers, "workers", 1, "runs at a time of each process, one thread each")
	f.StringVar(&o.Image, "image", "", "kubernetes: container image with ninox")
	f.StringVar(&o.Claim, "claim", "", "kubernetes: persistent volume claim of a store that is a folder")
	f.StringVar(&o.Secret, "secret", "", "kubernetes: secret whose entries are the environment variables that open a bucket")
	return cmd
}

func (o *manifestOptions) check(c *cobra.Command) error {
	var f app.Faults
	if o.Scheduler != kubernetes && o.Scheduler != slurm {
		f.Addf("%q: expected kubernetes or slurm", o.Scheduler)
	}
	if o.Out == "" {
		f.Addf("--out is missing")
	}
	if o.Shards < 1 || o.Workers < 1 {
		f.Addf("--shards %d, --workers %d: expected at least 1", o.Shards, o.Workers)
	}
	if o.Scheduler == kubernetes && o.Image == "" {
		f.Addf("--image is missing")
	}
	switch bucket := meta.IsURL(o.Out); {
	case o.Scheduler != kubernetes:
	case !bucket && o.Claim == "":
		f.Addf("--claim is missing: %s is a folder", o.Out)
	case bucket && o.Claim != "":
		f.Addf("--claim %s: %s is a bucket", o.Claim, o.Out)
	}
	return f.Err(c)
}

func runManifest(_ context.Context, a *app.App, o manifestOptions) error {
	text, err := os.ReadFile(o.Plan)
	if err != nil {
		return err
	}
	if _, err := meta.ParsePlan(text); err != nil {
		return fmt.Errorf("%s: %w", o.Plan, err)
	}
	if o.Scheduler == slurm {
		return o.slurm(a.Out)
	}
	return o.kubernetes(a.Out, string(text))
}

// collect is the command that each process runs; the scheduler tells it its
// index.
func (o *manifestOptions) collect(plan, out string) []string {
	return []string{"ninox", "meta", "collect", plan, "--out", out, "--shards", fmt.Sprint(o.Shards), "--workers", fmt.Sprint(o.Workers)}
}

// slurm prints a batch script (sbatch(1), job arrays).
func (o *manifestOptions) slurm(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "#!/bin/bash\n#SBATCH --job-name=ninox-collect\n#SBATCH --array=0-%d\n#SBATCH --ntasks=1\n#SBATCH --cpus-per-task=%d\n#SBATCH --requeue\nexec", o.Shards-1, o.Workers)
	for _, word := range o.collect(o.Plan, o.Out) {
		fmt.Fprintf(&b, " %s", quote(word))
	}
	b.WriteString("\n")
	_, err := w.Write(b.Bytes())
	return err
}

// quote makes a word of a shell command.
func quote(word string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=+,"
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// object is an object of Kubernetes' API.
type object map[string]any

const (
	objectName      = "ninox-collect"
	planFolder      = "/plan"
	planFile        = "plan.json"
	storeFolder     = "/data"
	retriesPerIndex = 5
)

// kubernetes prints a ConfigMap with the plan and an Indexed Job.
func (o *manifestOptions) kubernetes(w io.Writer, plan string) error {
	mounts := []object{{"name": "plan", "mountPath": planFolder, "readOnly": true}}
	volumes := []object{{"name": "plan", "configMap": object{"name": objectName}}}
	store := o.Out
	if o.Claim != "" {
		store = storeFolder + "/" + strings.TrimPrefix(o.Out, "/")
		mounts = append(mounts, object{"name": "store", "mountPath": storeFolder})
		volumes = append(volumes, object{"name": "store", "persistentVolumeClaim": object{"claimName": o.Claim}})
	}
	container := object{
		"name": objectName, "image": o.Image,
		"command":      o.collect(planFolder+"/"+planFile, store),
		"resources":    object{"requests": object{"cpu": fmt.Sprint(o.Workers)}},
		"volumeMounts": mounts,
	}
	if o.Secret != "" {
		container["envFrom"] = []object{{"secretRef": object{"name": o.Secret}}}
	}
	pod := object{
		"restartPolicy": "Never", // a pod that fails is counted against its index
		"containers":    []object{container},
		"volumes":       volumes,
	}
	objects := []object{
		{"apiVersion": "v1", "kind": "ConfigMap", "metadata": object{"name": objectName}, "data": object{planFile: plan}},
		{"apiVersion": "batch/v1", "kind": "Job", "metadata": object{"name": objectName}, "spec": object{
			"completionMode": "Indexed", "completions": o.Shards, "parallelism": o.Shards, "backoffLimitPerIndex": retriesPerIndex,
			"template": object{"spec": pod},
		}},
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	for _, x := range objects {
		if err := e.Encode(x); err != nil {
			return err
		}
	}
	return e.Close()
}
