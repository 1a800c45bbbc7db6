// Package onnxpb is the generated protobuf code of onnx.proto.
package onnxpb

//go:generate go run ./gen onnx.proto
