// Package ops defines the operators: one file per operator or family, each a
// list of op.Def values, and Registry, which holds them all.
//
//	reg := ops.Registry()
//	reg.Lookup("", "Conv").Grad.Rule()
//
// Every file starts with a link to the specification of its operators. Helpers
// shared by the rules stand in schema.go (attributes), dims.go (symbolic
// extents), facts.go (inference), flows.go (axis flow) and calc.go (emitting
// nodes in gradient and lowering rules).
package ops

//go:generate go run ./internal/opsdoc ../../docs/OPERATORS.md
