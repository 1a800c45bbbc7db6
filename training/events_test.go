package training

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"ninox/internal/testenv"
)

// readScalars prints, with the tensorboard package, the scalars of a run folder.
const readScalars = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
a = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
a.Reload()
print(json.dumps({t: [[e.step, e.value] for e in a.Scalars(t)] for t in a.Tags()["scalars"]}))
`

// Interrupted and resumed, a run leaves events that TensorBoard reads: every
// scalar of metrics.jsonl once, at its step.
func TestEventsInTensorBoard(t *testing.T) {
	python := os.Getenv("NINOX_TENSORBOARD_PYTHON")
	if python == "" {
		python = "python3"
	}
	if out, err := exec.Command(python, "-c", "import tensorboard").CombinedOutput(); err != nil {
		testenv.Missing(t, "tensorboard", fmt.Sprintf("no tensorboard package for %s (NINOX_TENSORBOARD_PYTHON names another): %s", python, out))
	}
	c, _ := fakeConfig(t)
	c, _ = withNowcasts(c)
	interrupt(t, c, 17, false)
	c.Trainer, c.Resume = newFakeTrainer(), true
	mustRun(t, c)
	cmd := exec.Command(python, "-c", readScalars, filepath.Join(c.Dir, eventsFile))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][][2]float64{}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string][][2]float64{}
	for _, m := range mustMetrics(t, c.Dir) {
		for tag, v := range map[string]*float64{tagLoss: m.Loss, tagTestLoss: m.EvalLoss, tagAccuracy: m.EvalAccuracy} {
			if v != nil {
				want[tag] = append(want[tag], [2]float64{float64(m.Step), *v})
			}
		}
		if m.LR != 0 {
			want[tagRate] = append(want[tagRate], [2]float64{float64(m.Step), m.LR})
		}
		if m.Nowcast != nil && m.Nowcast.Accepted {
			want[tagNowcast] = append(want[tagNowcast], [2]float64{float64(m.Step), float64(m.Nowcast.K)})
		}
	}
	if len(got) != len(want) || len(want) < 4 {
		t.Errorf("%d tags, expected %d", len(got), len(want))
	}
	for tag, w := range want {
		g := got[tag]
		if len(g) != len(w) {
			t.Errorf("%s: %d events, expected %d", tag, len(g), len(w))
			continue
		}
		for i := range w {
			if g[i][0] != w[i][0] || math.Abs(g[i][1]-w[i][1]) > 1e-6*math.Abs(w[i][1]) {
				t.Errorf("%s: event %d is %v, expected %v", tag, i, g[i], w[i])
			}
		}
	}
}
