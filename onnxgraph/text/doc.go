// Package text prints and parses models in the textual syntax of the ONNX
// specification (https://onnx.ai/onnx/repo-docs/Syntax.html), the language of
// tests, dumps and error messages.
//
//	m, err := text.Parse([]byte(`
//	<ir_version: 8, opset_import: ["" : 17]>
//	mlp (float[batch,4] x) => (float[batch,2] y) <float[4,2] w = {1, 0, 0, 1, 1, 0, 0, 1}> {
//	   h = MatMul (x, w)
//	   y = Softmax <axis: int = -1> (h)
//	}`))
//	…
//	err = text.Print(os.Stdout, m, text.Options{})
//
// Parse reads what Print writes as an equal model. Equal means: tensors have
// equal elements, whatever field of the file holds them; payloads of NaNs are
// not kept. Elements of float16, bfloat16 and of the 8-bit floats are written
// as the integers that hold their bits, those of 2- and 4-bit types as packed
// bytes, since that is what the reference parser makes tensors of. Parse also
// takes the elements of such types one by one, and float16 and bfloat16 as
// decimal fractions (1.5).
//
// What the official syntax has no words for is written so:
//
//   - Notes, which other parsers take for comments: "#@ key: value, …" up to the
//     end of the line, behind the thing they belong to. The keys are doc_string,
//     metadata_props, denotation (of a type), unknown (fields of the file that
//     onnxgraph does not model) and name (of a subgraph or of a tensor in an
//     attribute, where the official syntax has plain identifiers only).
//     Strings are quoted as in Go. The notes of attributes, graphs and functions stand
//     behind their names; those of the model behind its header.
//   - Parts of an operator's name, and names of attributes, that are not
//     identifiers are quoted: "my-domain".Op.
//   - Sparse tensors: sparse_tensor(float[9]) s = {float[2] {1, 2}, int64[2] {0, 8}}
//     holds values, then indices.
//   - "?" stands for an element type that is not given, undefined for a tensor's.
//     An attribute without a value is written name: undefined = ?.
package text
