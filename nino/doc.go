// Package nino is the NiNo network (Neuron interaction and Nowcasting): its
// weights, the network as ONNX, and the step that predicts a model's parameters
// many training steps ahead from its past states.
package nino
