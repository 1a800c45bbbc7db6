// Package neuralgraph finds the neurons of a model in its flow of values: the
// groups of indices that may be permuted together, the parameters as blocks of
// edges between them, and the graph that the NiNo network reads.
//
//	g, err := neuralgraph.Analyse(model, ops.Registry())
//	if err != nil { … } // unknown operators, all listed
//	for _, group := range g.Groups { fmt.Println(group.Name, group.Role, group.Size, group.Permutable) }
//	n, err := g.NiNo(nil) // layers of nodes, dense blocks of edges
//	pos := n.Positions()  // 8 Laplacian features a node
//
// # Axis propagation
//
// Every axis of every value belongs to a class of axes that correspond index
// for index. A class may be the row-major product of factors or the
// concatenation of segments, again classes; what is neither is an atom.
// Operators relate classes (op.FlowCtx), and where two compositions of one axis
// meet they are refined until they agree. Classes that cannot be made to agree
// are fixed, so that an error here can only lose symmetries, never invent them.
// Atoms on the axes of parameters are the groups.
//
// Propagation runs twice. In the coarse run a class holds what must be permuted
// together: a whole residual stream is one. In the fine run it holds what is
// the same layer of neurons; type fine says where the two differ. Groups and
// the blocks of a Graph come from the first, the layers of a NiNo graph from
// the second.
//
// # The NiNo graph
//
// A layer is a set of nodes, one for every combination of indices of its atoms.
// Each parameter is laid out at its first use; a further use of the same kind
// shares its layers, and one of another kind (an embedding that is also the
// output) adds nothing. A bias or norm weight comes from a node of its own.
// Decisions beyond the paper:
//
//   - A linear layer behind a flattened feature map has edges from the channels,
//     with the positions as taps.
//   - A sum of two layers that nothing else reads is one layer. Otherwise the
//     sum belongs to the one that is read only there, and residual edges join
//     the others to it; where all are read elsewhere the sum is a layer of its
//     own. Products (gates) are treated alike.
//   - Keys are the nodes of their queries. Where several heads share keys and
//     values, keys have nodes of their own, and residual edges lead from queries
//     to keys and from values to their copies; every query head has a node, with
//     edges to its queries and to the values that it reads.
//   - A norm weight that all heads share leads to nodes of its own, joined to the
//     neurons of every head by residual edges.
//   - A depthwise convolution makes a layer, with one edge to each neuron.
//   - Gates of recurrent layers are parallel edges to the hidden neurons.
package neuralgraph
