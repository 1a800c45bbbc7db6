package autodiff

// Remedy says what to change in a model so that an operator (with its domain,
// where that is not the default one) no longer blocks gradients; empty where
// nothing is known to help.
func Remedy(op string) string { return remedies[op] }

var remedies = map[string]string{
	"LSTM": fixedLength, "GRU": fixedLength, "RNN": fixedLength,
	"If": decided, "Loop": unrolled, "Scan": unrolled,
	"MatMulInteger": floats, "ConvInteger": floats, "QLinearMatMul": floats, "QLinearConv": floats, "DynamicQuantizeLinear": floats,
	"QuantizeLinear": floats, "DequantizeLinear": floats, "com.microsoft:MatMulNBits": floats, "com.microsoft:MatMulIntegerToFloat": floats,
	"com.microsoft:DynamicQuantizeLSTM": floats, "com.microsoft:DynamicQuantizeMatMul": floats,
}

const (
	fixedLength = "export the model with a fixed sequence length"
	decided     = "export the model with the condition decided"
	unrolled    = "export the model with a fixed number of iterations"
	floats      = "train the model before it was quantized, and quantize the result"
)
