// Package analysis looks at trajectories of parameters as the paper does: in
// their first two principal components, as embeddings of neuron graphs, and by
// how far forecasts are off at each horizon and for each type of layer.
package analysis
