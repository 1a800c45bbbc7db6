package neuralgraph

import "strconv"

// Rotary embeddings cut the neurons of a head into halves, or into pairs, but no
// layer ever sees a half alone. Such a concatenation is one atom of a
// layer: a unit.

// formUnits finds them among the axes of layers: concatenations of atoms none of
// which occurs on another axis of a layer by itself.
func (f *fine) formUnits(axes []*class) {
	total := map[*class]int{}    // occurrences of each atom
	within := map[*class][]int{} // by concatenation: occurrences of each of its atoms in it
	for _, c := range axes {
		countAtoms(find(c), total, within)
	}
	for c, counts := range within {
		whole := len(counts) == len(c.parts)
		for i, p := range c.parts {
			whole = whole && counts[i] == total[find(p)]
		}
		c.unit = whole
	}
	f.gatherUnits()
}

// gatherUnits makes concatenations elsewhere, of the same atoms in the same
// order, members of their unit: halves that were put together again.
func (f *fine) gatherUnits() {
	units := map[string]*class{}
	for _, c := range f.space.classes {
		if key := partsKey(c); c.unit && units[key] == nil {
			units[key] = c
		}
	}
	for _, c := range f.space.classes {
		if c.parent != nil || c.kind != concat {
			continue
		}
		if u := units[partsKey(c)]; u != nil && u != c {
			absorb(u, c)
		}
	}
}

func partsKey(c *class) string {
	key := ""
	for _, p := range c.parts {
		key += strconv.Itoa(find(p).id) + " "
	}
	return key
}

func countAtoms(c *class, total map[*class]int, within map[*class][]int) {
	flat := c.kind == concat
	for _, p := range c.parts {
		flat = flat && find(p).kind == atom
	}
	if flat && within[c] == nil {
		within[c] = make([]int, len(c.parts))
	}
	if c.kind == atom {
		total[c]++
	}
	for i, p := range c.parts {
		countAtoms(find(p), total, within)
		if flat {
			within[c][i]++
		}
	}
}

// divided says whether an axis has a unit in it.
func divided(c *class) bool {
	for _, l := range leaves(c) {
		if l.unit {
			return true
		}
	}
	return false
}
