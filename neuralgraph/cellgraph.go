package neuralgraph

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
)

// cellGraph is the undirected simple graph under a NiNo graph, without
// self-loops, on cells: sets of nodes that no block tells apart. Between two
// cells, and within one, there are all edges or none, but for links, which
// pair the nodes of two cells one to one.
type cellGraph struct {
	nodes  int
	cells  [][]int32 // the nodes of each cell, ascending
	cellOf []int32   // the cell of each node
	dense  [][]int32 // adjacent cells of each cell, ascending; itself where its nodes are all adjacent
	links  linkList
	degree []float64 // of the nodes of each cell
	linked [][]link  // by cell
}

// linkList holds, for each node u, the nodes that diagonal blocks join it to
// and no dense one: ends[first[u]:first[u+1]].
type linkList struct {
	first []int32
	ends  []int32
}

func (l *linkList) of(u int32) []int32 { return l.ends[l.first[u]:l.first[u+1]] }

// link joins every node of a cell to the node perm[i] positions into another.
type link struct {
	to   int
	perm []int32
}

// cellsOf finds the coarsest cells for the blocks' ends that diagonal blocks
// map onto each other.
func (n *NiNo) cellsOf() *cellGraph {
	c := &cellGraph{nodes: n.Nodes, cellOf: make([]int32, n.Nodes)}
	p := &partition{cellOf: c.cellOf, size: []int{n.Nodes}}
	for i := range n.Blocks {
		p.split(n.Blocks[i].Source)
		p.split(n.Blocks[i].Target)
	}
	for before := 0; before < len(p.size); {
		before = len(p.size)
		for i := range n.Blocks {
			if b := &n.Blocks[i]; b.Diagonal {
				p.match(b.Source, b.Target)
				p.match(b.Target, b.Source)
			}
		}
	}
	for {
		c.gather(len(p.size))
		c.connect(n)
		if !c.even(p) {
			continue
		}
		c.link()
		return c
	}
}

// even says whether all nodes of a cell are linked alike. Where some are not,
// because two one-to-one blocks agree on some nodes only, it takes them apart
// in the partition.
func (c *cellGraph) even(p *partition) bool {
	p.cellOf, p.size = c.cellOf, make([]int, len(c.cells))
	var scratch []int32
	targets := func(u int32) []int32 {
		scratch = scratch[:0]
		for _, v := range c.links.of(u) {
			scratch = append(scratch, c.cellOf[v])
		}
		slices.Sort(scratch)
		return scratch
	}
	var apart []Span
	for k, nodes := range c.cells {
		p.size[k] = len(nodes)
		like := slices.Clone(targets(nodes[0]))
		if !slices.ContainsFunc(nodes, func(u int32) bool { return !slices.Equal(targets(u), like) }) {
			continue
		}
		kinds := map[string]Span{}
		for _, u := range nodes {
			key := string(packed(targets(u)))
			s := kinds[key]
			kinds[key] = Span{Count: s.Count + 1, Index: append(s.Index, u)}
		}
		for _, key := range slices.Sorted(maps.Keys(kinds)) {
			apart = append(apart, kinds[key])
		}
	}
	for _, s := range apart {
		p.split(s)
	}
	return len(apart) == 0
}

// partition is the cells while they are being refined. Refining costs no more
// than the nodes that are looked at.
type partition struct {
	cellOf []int32
	size   []int
}

// split separates the nodes of a span from the others of their cells.
func (p *partition) split(s Span) {
	inside := map[int32]int{}
	runs(s, p.cellOf, func(k int32, nodes int) { inside[k] += nodes })
	fresh := map[int32]int32{}
	for _, k := range slices.Sorted(maps.Keys(inside)) {
		if inside[k] < p.size[k] {
			fresh[k] = p.add(k, inside[k])
		}
	}
	if len(fresh) == 0 {
		return
	}
	for i := range s.Count {
		if k, ok := fresh[p.cellOf[s.Node(i)]]; ok {
			p.cellOf[s.Node(i)] = k
		}
	}
}

// runs visits the cells of a span's nodes, with how many follow each other.
func runs(s Span, cellOf []int32, visit func(cell int32, nodes int)) {
	from := 0
	for i := 1; i <= s.Count; i++ {
		if k := cellOf[s.Node(from)]; i == s.Count || cellOf[s.Node(i)] != k {
			visit(k, i-from)
			from = i
		}
	}
}

// add makes a cell of some nodes of an old one.
func (p *partition) add(old int32, nodes int) int32 {
	p.size[old] -= nodes
	p.size = append(p.size, nodes)
	return int32(len(p.size) - 1)
}

// match separates the nodes of own whose partners in other lie in different
// cells.
func (p *partition) match(own, other Span) {
	type pair struct{ own, other int32 }
	at := func(i int) pair { return pair{p.cellOf[own.Node(i)], p.cellOf[other.Node(i)]} }
	met := map[pair]int{}
	for i := range own.Count {
		met[at(i)]++
	}
	keys := slices.SortedFunc(maps.Keys(met), func(x, y pair) int {
		return cmp.Or(cmp.Compare(x.own, y.own), cmp.Compare(x.other, y.other))
	})
	fresh := map[pair]int32{}
	for _, k := range keys {
		if met[k] < p.size[k.own] {
			fresh[k] = p.add(k.own, met[k])
		}
	}
	if len(fresh) == 0 {
		return
	}
	next := make([]int32, own.Count)
	for i := range next {
		next[i] = p.cellOf[own.Node(i)]
		if k, ok := fresh[at(i)]; ok {
			next[i] = k
		}
	}
	for i, k := range next {
		p.cellOf[own.Node(i)] = k
	}
}

// gather numbers the cells by their first nodes.
func (c *cellGraph) gather(count int) {
	number, size := make([]int32, count), make([]int, 0, count)
	for k := range number {
		number[k] = -1
	}
	for u, k := range c.cellOf {
		if number[k] < 0 {
			number[k] = int32(len(size))
			size = append(size, 0)
		}
		c.cellOf[u] = number[k]
		size[number[k]]++
	}
	c.cells = make([][]int32, len(size))
	all := make([]int32, c.nodes)
	for k, n := range size {
		c.cells[k], all = all[:0:n], all[n:]
	}
	for u, k := range c.cellOf {
		c.cells[k] = append(c.cells[k], int32(u))
	}
}

// connect enters the edges of the blocks, each pair of nodes once.
func (c *cellGraph) connect(n *NiNo) {
	adjacent := make([]map[int32]bool, len(c.cells))
	for k := range adjacent {
		adjacent[k] = map[int32]bool{}
	}
	done := map[string]bool{}
	for i := range n.Blocks {
		b := &n.Blocks[i]
		if b.Diagonal {
			continue
		}
		from, to := c.cellsIn(b.Source), c.cellsIn(b.Target)
		key := string(packed(from)) + "|" + string(packed(to))
		if done[key] {
			continue
		}
		done[key] = true
		for _, p := range from {
			for _, q := range to {
				adjacent[p][q], adjacent[q][p] = true, true
			}
		}
	}
	c.dense = make([][]int32, len(c.cells))
	for k, set := range adjacent {
		for q := range set {
			c.dense[k] = append(c.dense[k], q)
		}
		slices.Sort(c.dense[k])
	}
	c.collectLinks(n, adjacent)
}

// collectLinks lists the pairs of diagonal blocks that no dense block joins,
// each once.
func (c *cellGraph) collectLinks(n *NiNo, adjacent []map[int32]bool) {
	var pairs []uint64 // both directions, the first node in the upper half
	for i := range n.Blocks {
		b := &n.Blocks[i]
		if !b.Diagonal {
			continue
		}
		for j := range b.Source.Count {
			u, v := b.Source.Node(j), b.Target.Node(j)
			if u != v && !adjacent[c.cellOf[u]][c.cellOf[v]] {
				pairs = append(pairs, uint64(u)<<32|uint64(v), uint64(v)<<32|uint64(u))
			}
		}
	}
	slices.Sort(pairs)
	pairs = slices.Compact(pairs)
	c.links = linkList{first: make([]int32, c.nodes+1), ends: make([]int32, len(pairs))}
	for i, p := range pairs {
		c.links.first[p>>32+1]++
		c.links.ends[i] = int32(uint32(p))
	}
	for u := range c.nodes {
		c.links.first[u+1] += c.links.first[u]
	}
}

func packed(list []int32) []byte {
	var b []byte
	for _, k := range list {
		b = binary.AppendVarint(b, int64(k))
	}
	return b
}

func (c *cellGraph) cellsIn(s Span) []int32 {
	seen := map[int32]bool{}
	runs(s, c.cellOf, func(k int32, _ int) { seen[k] = true })
	out := make([]int32, 0, len(seen))
	for k := range seen {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// link sorts the linked pairs by cells and counts degrees.
func (c *cellGraph) link() {
	place := make([]int32, c.nodes)
	for _, nodes := range c.cells {
		for i, u := range nodes {
			place[u] = int32(i)
		}
	}
	c.linked = make([][]link, len(c.cells))
	c.degree = make([]float64, len(c.cells))
	for k, nodes := range c.cells {
		for _, q := range c.dense[k] {
			c.degree[k] += float64(len(c.cells[q]))
			if int(q) == k {
				c.degree[k]--
			}
		}
		first := c.links.of(nodes[0])
		c.degree[k] += float64(len(first))
		for _, u := range nodes {
			slices.SortFunc(c.links.of(u), func(x, y int32) int {
				return cmp.Or(cmp.Compare(c.cellOf[x], c.cellOf[y]), cmp.Compare(place[x], place[y]))
			})
		}
		for j, end := range first {
			l := link{to: int(c.cellOf[end]), perm: make([]int32, len(nodes))}
			for i, u := range nodes {
				l.perm[i] = place[c.links.of(u)[j]]
			}
			c.linked[k] = append(c.linked[k], l)
		}
	}
}

// multiply sets y = D^(-1/2) A D^(-1/2) x.
func (c *cellGraph) multiply(y, x []float64) {
	sums := make([]float64, len(c.cells))
	for k, nodes := range c.cells {
		for _, u := range nodes {
			sums[k] += x[u]
		}
		sums[k] *= c.weight(k)
	}
	for k, nodes := range c.cells {
		s, own := 0.0, 0.0
		for _, q := range c.dense[k] {
			s += sums[q]
			if int(q) == k {
				own = c.weight(k)
			}
		}
		for i, u := range nodes {
			v := s - own*x[u]
			for _, l := range c.linked[k] {
				v += c.weight(l.to) * x[c.cells[l.to][l.perm[i]]]
			}
			y[u] = v * c.weight(k)
		}
	}
}

// weight is the inverse root of a cell's degree, 0 for isolated nodes.
func (c *cellGraph) weight(k int) float64 { return inverseRoot(c.degree[k]) }
