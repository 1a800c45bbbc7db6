package nino

import "errors"

func (e emitter) wholeStep(w *Weights, o ExportOptions) error { return errors.New("todo") }
