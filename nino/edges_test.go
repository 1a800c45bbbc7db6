package nino

import (
	"testing"
)

// The network on the reference's graphs gives the reference's numbers.
func TestEdgesReference(t *testing.T) {
	for _, checkpoint := range []string{"nino_no_posw", "nino_mlp"} {
		s := newSession(t, importWeights(t, checkpoint))
		for _, name := range cases {
			f := loadFixture(t, name)
			params := f.ints(t, "edge_param")
			for _, k := range testHorizons {
				pred, raw := runEdges(t, s, f, k), f.raw(t, checkpoint, k)
				var got, want []float32
				for i, p := range params {
					if p >= 0 {
						got, want = append(got, pred[i]), append(want, raw[p])
					}
				}
				if len(want) != len(raw) && name != "c_gpt2_v256" {
					t.Errorf("%s: %d of %d parameters lie on edges", name, len(want), len(raw))
				}
				d := distance(got, want)
				t.Logf("%s %s k=%d: %.2e", checkpoint, name, k, d)
				if d > 1e-5 {
					t.Errorf("%s %s k=%d: off by %.2e", checkpoint, name, k, d)
				}
			}
		}
	}
}
