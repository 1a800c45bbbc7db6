// Package nino is the NiNo network (Neuron interaction and Nowcasting): its
// weights, the network as ONNX, and the step that predicts a model's parameters
// many training steps ahead from its past states.
//
//	w, err := nino.ReadWeights("nino.safetensors")   // or nino.Import("nino.pt")
//	g, err := graph.NiNo(parameters)                  // of neuralgraph.Analyse(model, …)
//	n, err := nino.New(engine, w, g, nino.Options{})
//	defer n.Close()
//	next, err := n.Nowcast(ctx, states, 20)           // five states, oldest first
//
// A horizon k means k intervals between states: with a state every 200 training
// steps, k = 20 predicts the parameters 4,000 steps after the newest state.
//
// The network exists in two forms. EdgesModel is one model for any graph, given
// edge by edge; it computes in the reference's order and gives its numbers to
// 1e-5. The tiles form is for dense blocks of edges: linear maps that follow one
// another are multiplied out, nothing is gathered, scattered or kept per edge.
// New runs it as TileModels, one for each pass; WNN+, the network without a
// graph, has the edges form only. Export writes either form as one model for
// other runtimes, in the precision asked for, and on request with all that
// surrounds the network in a step.
//
// Kernels with more taps than the network has (9) are split over parallel edges
// between the same nodes, each with the next nine taps in row-major order.
package nino
