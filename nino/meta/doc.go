// Package meta trains NiNo itself. A Plan describes many small training runs;
// Collect makes them and keeps their parameters every few steps in a Store;
// Train fits the network to windows of those trajectories (section 4 and
// appendix A.3 of the paper); Evaluate measures its forecasts on runs that it
// has not seen.
//
//	plan, err := meta.ReadPlan("plan.json")
//	store, err := meta.OpenStore("trajectories")
//	err = meta.Collect(ctx, engine, plan, store, meta.CollectOptions{Workers: 2})
//	w, err := meta.Train(ctx, engine, store, meta.TrainOptions{Width: 32, Iterations: 20000})
package meta
