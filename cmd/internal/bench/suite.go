package bench

import (
	"os"
	"path/filepath"

	"ninox/cmd/internal/method"
)

// suite is a named choice of tasks, methods and sizes.
type suite struct {
	tasks   []suiteTask
	methods []string
}

type suiteTask struct {
	source  string
	data    []string // specs to try in order; "" is the task's own data
	steps   int      // 0: those of the task
	period  int
	samples int // of the test data; 0: all
}

// suites by name. The small one gives every task the steps that leave it about
// the same share of 15 minutes on two cores.
func suites() map[string]suite {
	text := proseSpec()
	return map[string]suite{
		"small": {
			tasks: []suiteTask{
				{source: "fm-16", data: []string{"", "embedded"}, steps: 600, period: 60, samples: 2000},
				{source: "c10-16", data: []string{"", "cifar10-jpeg"}, steps: 400, period: 40, samples: 1000},
				{source: "fm-32", data: []string{"", "embedded"}, steps: 250, period: 25, samples: 1000},
				{source: "bytes-3-64", data: []string{text}, steps: 400, period: 40, samples: 200},
			},
			methods: []string{"none", "linefit", "wnn+", "nino"},
		},
		"full": {
			tasks: []suiteTask{
				{source: "fm-16", data: []string{"", "embedded"}, period: 1000},
				{source: "c10-16", data: []string{"", "cifar10-jpeg"}, period: 1000},
				{source: "fm-32", data: []string{"", "embedded"}, period: 1000},
				{source: "c10-32", data: []string{"", "cifar10-jpeg"}, period: 1000},
				{source: "c100-32", data: []string{""}, period: 1000},
				{source: "prose-3-24", data: []string{text}, period: 500},
				{source: "bytes-3-64", data: []string{text}, period: 500},
			},
			// All methods, and the schedules that people use.
			methods: append(method.Names(), "none:schedule=linear", "none:schedule=cosine", "none:schedule=wsd", "nino:schedule=linear", "nino:schedule=cosine", "nino:schedule=wsd"),
		},
	}
}

func suiteNames() []string { return []string{"small", "full"} }

// proseSpec is the text in $NINOX_DATA/text, "" where there is none.
func proseSpec() string {
	root := os.Getenv("NINOX_DATA")
	pattern := filepath.Join(root, "text", "*.txt*")
	if found, err := filepath.Glob(pattern); root == "" || err != nil || len(found) == 0 {
		return ""
	}
	return "text:" + pattern
}
