package bench

import (
	"slices"
	"strconv"
	"strings"

	"ninox/training/bench"
)

// stateBudget is the most bytes of states that a run keeps for the pictures.
const stateBudget = 1 << 30

// keptStates are the steps whose parameters the pictures need, as a flag has
// it: the states of the nowcasts, evenly spread, and those right before a
// nowcast. Large networks keep none.
func keptStates(t bench.Task) string {
	spacing := t.Period / 5
	if spacing == 0 {
		return ""
	}
	var steps []int
	for s := spacing; s <= t.Steps; s += spacing {
		steps = append(steps, s)
		if s%t.Period == 0 && s > 1 && spacing > 1 {
			steps = append(steps, s-1)
		}
	}
	if int64(len(steps))*int64(t.Parameters)*4 > stateBudget {
		return ""
	}
	slices.Sort(steps)
	var text []string
	for _, s := range steps {
		text = append(text, strconv.Itoa(s))
	}
	return strings.Join(text, ",")
}
