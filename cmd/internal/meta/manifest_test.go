package meta

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"ninox/cmd/internal/app"
)

const manifestPlan = `{"schema": "ninox.meta.plan/1", "seed": 1, "sets": [
	{"name": "it's \"one\"", "count": 1, "data": ["embedded"], "hidden": [[4]], "optimizer": ["adam"], "lr": [0.1], "batch": [8], "steps": 4, "every": 2}]}
`

// manifest is what the command prints.
func manifest(t *testing.T, o manifestOptions) string {
	t.Helper()
	if err := os.WriteFile(o.Plan, []byte(manifestPlan), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := runManifest(context.Background(), &app.App{Out: &out}, o); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestKubernetesManifest(t *testing.T) {
	text := manifest(t, manifestOptions{Scheduler: kubernetes, Plan: filepath.Join(t.TempDir(), "p.json"), Out: "runs", Shards: 7, Workers: 2, Image: "ninox:1", Claim: "disk"})
	d := yaml.NewDecoder(strings.NewReader(text))
	var plan struct {
		Kind     string
		Metadata struct{ Name string }
		Data     map[string]string
	}
	var job struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Spec       struct {
			CompletionMode       string `yaml:"completionMode"`
			Completions          int
			Parallelism          int
			BackoffLimitPerIndex int `yaml:"backoffLimitPerIndex"`
			Template             struct {
				Spec struct {
					RestartPolicy string `yaml:"restartPolicy"`
					Containers    []struct {
						Image        string
						Command      []string
						VolumeMounts []struct {
							Name      string
							MountPath string `yaml:"mountPath"`
						} `yaml:"volumeMounts"`
					}
					Volumes []struct {
						Name      string
						ConfigMap struct{ Name string } `yaml:"configMap"`
						Claim     struct {
							Name string `yaml:"claimName"`
						} `yaml:"persistentVolumeClaim"`
					}
				}
			}
		}
	}
	if err := d.Decode(&plan); err != nil {
		t.Fatal(err)
	}
	if err := d.Decode(&job); err != nil {
		t.Fatal(err)
	}
	if plan.Kind != "ConfigMap" || plan.Data["plan.json"] != manifestPlan {
		t.Errorf("%s holds %q", plan.Kind, plan.Data)
	}
	s := job.Spec
	if job.APIVersion != "batch/v1" || job.Kind != "Job" || s.CompletionMode != "Indexed" || s.Completions != 7 || s.Parallelism != 7 || s.BackoffLimitPerIndex < 1 || s.Template.Spec.RestartPolicy != "Never" {
		t.Errorf("job %+v", job)
	}
	pod := s.Template.Spec
	want := []string{"ninox", "meta", "collect", "/plan/plan.json", "--out", "/data/runs", "--shards", "7", "--workers", "2"}
	if c := pod.Containers[0]; c.Image != "ninox:1" || !reflect.DeepEqual(c.Command, want) || c.VolumeMounts[0].MountPath != "/plan" || c.VolumeMounts[1].MountPath != "/data" {
		t.Errorf("container %+v", c)
	}
	if pod.Volumes[0].ConfigMap.Name != plan.Metadata.Name || pod.Volumes[1].Claim.Name != "disk" {
		t.Errorf("volumes %+v", pod.Volumes)
	}
}

// The script is run by a shell in which ninox prints its arguments.
// Runs of a bucket need no volume but the keys.
func TestKubernetesManifestOfBucket(t *testing.T) {
	text := manifest(t, manifestOptions{Scheduler: kubernetes, Plan: filepath.Join(t.TempDir(), "p.json"), Out: "s3://runs?prefix=a/", Shards: 7, Workers: 2, Image: "ninox:1", Secret: "keys"})
	for _, want := range []string{"s3://runs?prefix=a/", "secretRef", "name: keys"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "persistentVolumeClaim") || strings.Contains(text, storeFolder) {
		t.Errorf("a volume for a bucket in\n%s", text)
	}
}

func TestSlurmManifest(t *testing.T) {
	shell, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	dir := filepath.Join(t.TempDir(), "it's a folder")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	text := manifest(t, manifestOptions{Scheduler: slurm, Plan: filepath.Join(dir, "p.json"), Out: "runs", Shards: 7, Workers: 2})
	for _, line := range []string{"#SBATCH --array=0-6\n", "#SBATCH --cpus-per-task=2\n"} {
		if !strings.Contains(text, line) {
			t.Errorf("%q is missing:\n%s", line, text)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "ninox"), []byte("#!/bin/sh\nprintf '%s\\n' \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(shell, "-c", text)
	c.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := c.Output()
	want := "meta\ncollect\n" + filepath.Join(dir, "p.json") + "\n--out\nruns\n--shards\n7\n--workers\n2\n"
	if err != nil || string(out) != want {
		t.Errorf("ninox got %q, %v, expected %q", out, err, want)
	}
}
