package neuralgraph

import "slices"

// classes numbers the cells so that equal ones, such as the heads of an attention
// layer, have one number: cells of one layer that have as many neighbours of each
// number. That is the coarsest equitable partition of the graph, by colour
// refinement, in which no layer is taken for another.
func (n *NiNo) classes(c *cellGraph) (class []int32, count int) {
	layerOf := make([]int32, n.Nodes)
	for i, l := range n.Layers {
		for u := l.First; u < l.First+l.Size; u++ {
			layerOf[u] = int32(i + 1)
		}
	}
	class = make([]int32, len(c.cells))
	for k, nodes := range c.cells {
		class[k] = layerOf[nodes[0]]
	}
	for {
		before := count
		class, count = c.refined(class)
		if count == before {
			return class, count
		}
	}
}

// refined numbers the cells anew, by their numbers and those around them.
func (c *cellGraph) refined(class []int32) (next []int32, count int) {
	next = make([]int32, len(class))
	number := map[string]int32{}
	var around []int32
	for k := range c.cells {
		_, own := slices.BinarySearch(c.dense[k], int32(k))
		signature := packed([]int32{class[k], int32(len(c.cells[k])), int32(len(c.dense[k]))})
		if own {
			signature = append(signature, 0)
		}
		around = around[:0]
		for _, q := range c.dense[k] {
			around = append(around, class[q])
		}
		slices.Sort(around)
		for _, l := range c.linked[k] {
			around = append(around, class[l.to])
		}
		slices.Sort(around[len(c.dense[k]):])
		signature = append(signature, packed(around)...)
		if _, ok := number[string(signature)]; !ok {
			number[string(signature)] = int32(len(number))
		}
		next[k] = number[string(signature)]
	}
	return next, len(number)
}

// apart is the partition in which every cell is a class of its own.
func (c *cellGraph) apart() (class []int32, count int) {
	class = make([]int32, len(c.cells))
	for k := range class {
		class[k] = int32(k)
	}
	return class, len(class)
}
