package onnxgraph

type mappings struct{}
