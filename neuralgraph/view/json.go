package view

import (
	"encoding/json"
	"io"
)

// JSON writes the neural graph as a neuralgraph.Document, or the operators. Both
// always hold all copies of what repeats.
func (v *View) JSON(w io.Writer, o Options) error {
	if o.Operators {
		return encode(w, v.operatorDocument())
	}
	return encode(w, v.document)
}

func encode(w io.Writer, x any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(x)
}
