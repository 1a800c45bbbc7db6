package neuralgraph

import (
	"encoding/binary"
	"slices"
	"sort"
)

// cellGraph is the undirected simple graph under a NiNo graph, without
// self-loops, on cells: sets of nodes that no block tells apart. Between two
// cells, and within one, there are all edges or none, but for links, which
// pair the nodes of two cells one to one.
type cellGraph struct {
	nodes  int
	cells  [][]int32       // the nodes of each cell, ascending
	cellOf []int32         // the cell of each node
	dense  [][]int32       // adjacent cells of each cell, ascending; itself where its nodes are all adjacent
	links  map[[2]int]bool // pairs of nodes u < v that a diagonal block joins and no dense one
	degree []float64       // of the nodes of each cell
	linked [][]link        // by cell
}

// link joins every node of a cell to the node perm[i] positions into another.
type link struct {
	to   int
	perm []int32
}

// cellsOf finds the coarsest cells for the blocks' ends that diagonal blocks
// map onto each other.
func (n *NiNo) cellsOf() *cellGraph {
	c := &cellGraph{nodes: n.Nodes, cellOf: make([]int32, n.Nodes), links: map[[2]int]bool{}}
	count := 1
	for i := range n.Blocks {
		for _, s := range []Span{n.Blocks[i].Source, n.Blocks[i].Target} {
			count = c.split(count, s)
		}
	}
	for changed := true; changed; {
		before := count
		for i := range n.Blocks {
			if b := &n.Blocks[i]; b.Diagonal {
				count = c.match(count, b)
			}
		}
		changed = count > before
	}
	c.gather(count)
	c.connect(n)
	return c
}

// split separates the nodes of a span from the others of their cells.
func (c *cellGraph) split(count int, s Span) int {
	size := make([]int32, count)
	for _, k := range c.cellOf {
		size[k]++
	}
	inside := make([]int32, count)
	for i := range s.Count {
		inside[c.cellOf[s.Node(i)]]++
	}
	fresh := make([]int32, count)
	for k := range fresh {
		fresh[k] = -1
		if inside[k] > 0 && inside[k] < size[k] {
			fresh[k] = int32(count)
			count++
		}
	}
	for i := range s.Count {
		if k := c.cellOf[s.Node(i)]; int(k) < len(fresh) && fresh[k] >= 0 {
			c.cellOf[s.Node(i)] = fresh[k]
		}
	}
	return count
}

// match refines the cells at both ends of a diagonal block by each other.
func (c *cellGraph) match(count int, b *Block) int {
	for _, ends := range [][2]Span{{b.Source, b.Target}, {b.Target, b.Source}} {
		type pair struct{ own, other int32 }
		size := make([]int32, count)
		for _, k := range c.cellOf {
			size[k]++
		}
		met := map[pair]int32{}
		for i := range ends[0].Count {
			met[pair{c.cellOf[ends[0].Node(i)], c.cellOf[ends[1].Node(i)]}]++
		}
		fresh := map[pair]int32{}
		keys := make([]pair, 0, len(met))
		for p := range met {
			keys = append(keys, p)
		}
		sort.Slice(keys, func(i, j int) bool {
			return keys[i].own < keys[j].own || keys[i].own == keys[j].own && keys[i].other < keys[j].other
		})
		for _, p := range keys {
			if met[p] < size[p.own] {
				fresh[p] = int32(count)
				size[p.own] -= met[p]
				count++
			}
		}
		if len(fresh) == 0 {
			continue
		}
		next := make([]int32, ends[0].Count)
		for i := range next {
			p := pair{c.cellOf[ends[0].Node(i)], c.cellOf[ends[1].Node(i)]}
			next[i] = p.own
			if k, ok := fresh[p]; ok {
				next[i] = k
			}
		}
		for i, k := range next {
			c.cellOf[ends[0].Node(i)] = k
		}
	}
	return count
}

// gather numbers the cells by their first nodes.
func (c *cellGraph) gather(count int) {
	number := make([]int32, count)
	for k := range number {
		number[k] = -1
	}
	for u, k := range c.cellOf {
		if number[k] < 0 {
			number[k] = int32(len(c.cells))
			c.cells = append(c.cells, nil)
		}
		c.cellOf[u] = number[k]
		c.cells[number[k]] = append(c.cells[number[k]], int32(u))
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
	for i := range n.Blocks {
		if b := &n.Blocks[i]; b.Diagonal {
			for j := range b.Source.Count {
				u, v := b.Source.Node(j), b.Target.Node(j)
				if u > v {
					u, v = v, u
				}
				if u != v && !adjacent[c.cellOf[u]][c.cellOf[v]] {
					c.links[[2]int{u, v}] = true
				}
			}
		}
	}
	c.link()
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
	for i := range s.Count {
		seen[c.cellOf[s.Node(i)]] = true
	}
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
	partners := make([][]int32, c.nodes)
	for p := range c.links {
		partners[p[0]] = append(partners[p[0]], int32(p[1]))
		partners[p[1]] = append(partners[p[1]], int32(p[0]))
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
		c.degree[k] += float64(len(partners[nodes[0]]))
		for _, u := range nodes {
			slices.SortFunc(partners[u], func(x, y int32) int {
				if d := c.cellOf[x] - c.cellOf[y]; d != 0 {
					return int(d)
				}
				return int(place[x] - place[y])
			})
		}
		for j := range partners[nodes[0]] {
			l := link{to: int(c.cellOf[partners[nodes[0]][j]]), perm: make([]int32, len(nodes))}
			for i, u := range nodes {
				l.perm[i] = place[partners[u][j]]
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
