// Command ninox accelerates the training of neural networks given as ONNX files.
package main

import (
	"os"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/root"
)

func main() { os.Exit(root.Main(app.System(), os.Args[1:])) }
