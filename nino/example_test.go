package nino_test

import (
	"context"
	"fmt"

	"ninox/nino"
	"ninox/onnxgraph/weights"
)

// The paper's schedule for 10,000 training steps: far horizons early, near ones
// late.
func ExampleHorizons() {
	fmt.Println(nino.Horizons(40, 10000, nino.DefaultPeriod, nino.DefaultPower))
	// Output: [40 33 26 21 16 11 8 5 3 1]
}

// A parameter that grew by 0.5 from state to state, four intervals later.
func ExampleLinefit() {
	var states []*weights.Set
	for i := range 5 {
		s := &weights.Set{}
		s.AddFloats("w", []int64{1}, []float32{1 + 0.5*float32(i)})
		states = append(states, s)
	}
	next, err := nino.Linefit().Nowcast(context.Background(), states, 4)
	if err != nil {
		fmt.Println(err)
		return
	}
	w, _ := next.Floats("w")
	fmt.Println(w)
	// Output: [5]
}
