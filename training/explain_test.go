package training

import "testing"

// Two layers of 4×4 with MSE: what a step needs can be counted by hand.
func TestExplain(t *testing.T) {
	a := mustArtifacts(t, chain(t, 2, nil), ArtifactOptions{Loss: MSE})
	const batch = 10
	r, err := Explain(a, batch)
	if err != nil {
		t.Fatal(err)
	}
	// Parameters and two moments each; x and labels.
	if r.Parameters != 2*64 || r.Moments != 4*64 || r.State() != 2*6*64 || r.Data != 2*batch*16 || len(r.Unknown) != 0 {
		t.Errorf("%+v", r)
	}
	// Backward reads both results of Tanh, the difference to the labels, its square
	// (for the shape), and the second weight as cut out of the common vector.
	if want := int64(4*batch*16 + 64); r.Kept != want {
		t.Errorf("%d bytes are kept, expected %d", r.Kept, want)
	}
	for i, name := range []string{Forward, Backward, Update} {
		if p := r.Phases[i]; p.Name != name || p.Nodes == 0 || p.Peak == 0 {
			t.Errorf("phase %+v", p)
		}
	}
	if r.Phases[1].Peak < r.Kept || r.Total() < r.State()+r.Data+r.Phases[1].Peak {
		t.Errorf("%+v, total %d", r, r.Total())
	}
	// Ten times the samples: ten times the results, the same state.
	more, err := Explain(a, 10*batch)
	if err != nil || more.Kept-64 != 10*(r.Kept-64) || more.State() != r.State() || more.Data != 10*r.Data {
		t.Errorf("%+v, %v", more, err)
	}
	// What depends on more than the batch is named.
	norm, err := Explain(mustArtifacts(t, normModel(t), ArtifactOptions{}), batch)
	if err != nil || len(norm.Unknown) != 0 || norm.Parameters != int64(4*(4*27+4+4+12+3+4+4)) {
		t.Errorf("%+v, %v", norm, err)
	}
}
