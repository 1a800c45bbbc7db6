// Package bench compares training methods by steps, seconds and bytes to a
// target: the protocol, fixed before anything runs, the runs that follow from
// it, the statistics of their outcomes, and tables of the results. It runs
// nothing itself.
//
//	p.Validate()                                   // a Protocol: tasks, methods, seeds
//	rates := p.ChooseRates(outcomes of p.TuningRuns())
//	res, err := bench.Evaluate(p, rates, outcomes of p.Runs(rates))
//	bench.WriteTable(w, p, res)
package bench
