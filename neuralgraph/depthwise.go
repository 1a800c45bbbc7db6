package neuralgraph

// A depthwise layer makes new neurons, one from each neuron that it reads, so
// the flow rule says that both have the same axis. The fine propagation tells
// them apart: it shows the rule a copy of the axes that the layer reads.

// lift pairs the copy of an axis with the axis itself.
type lift struct{ result, source *class }

// separate replaces the data that a depthwise layer reads by copies, and
// returns the originals by input; nil for other nodes.
func (f *fine) separate(fl *flow) map[int][]*class {
	weight, ok := f.depthwise[fl.node]
	if !ok {
		return nil
	}
	out := map[int][]*class{}
	for i, in := range fl.node.Inputs {
		if i == weight || in == "" || f.constant[in] {
			continue
		}
		out[i] = fl.inAxes[i]
		fl.inAxes[i] = f.space.atoms(fl.in[i].Shape())
	}
	return out
}

// rejoin unifies the copies with their originals again where the weight does
// not lie on them, and remembers the others.
func (f *fine) rejoin(fl *flow, copied map[int][]*class) {
	if copied == nil {
		return
	}
	on := map[*class]bool{}
	for _, c := range fl.inAxes[f.depthwise[fl.node]] {
		for _, l := range leaves(c) {
			on[l] = !isOne(l.dim)
		}
	}
	for i, axes := range copied {
		for a, source := range axes {
			lies := false
			for _, l := range leaves(fl.inAxes[i][a]) {
				lies = lies || on[l]
			}
			if lies {
				f.lifts = append(f.lifts, lift{fl.inAxes[i][a], source})
			} else {
				f.same(fl.inAxes[i][a], source)
			}
		}
	}
}

// settleLifts gives both ends of each lift the same composition, and pairs
// their atoms.
func (f *fine) settleLifts() {
	for range len(f.lifts) + 1 { // a chain of layers hands compositions on, one a round
		for _, l := range f.lifts {
			f.space.unify(l.source, f.space.shaped(l.result))
			f.space.unify(l.result, f.space.shaped(l.source))
		}
	}
	for _, l := range f.lifts {
		x, okx := cells(l.result)
		y, oky := cells(l.source)
		if pairs, ok := pairCells(x, y); okx && oky && ok {
			for _, p := range pairs {
				f.sources[p[0]] = p[1]
			}
		}
	}
}

// shaped makes a class with the composition of another one, of atoms of its own.
func (s *space) shaped(c *class) *class {
	c = find(c)
	if c.kind == atom {
		return s.atom(c.dim)
	}
	parts := make([]*class, len(c.parts))
	for i, p := range c.parts {
		parts[i] = s.shaped(p)
	}
	return s.compose(c.kind, parts)
}

// read is the atom on the source side of an atom that a parameter has on both
// sides.
func (f *fine) read(c *class) *class {
	if s := f.sources[find(c)]; s != nil {
		return s
	}
	return c
}
