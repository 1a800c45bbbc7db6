package bench

import "math"

// Figures of the paper "Accelerating Training with Neuron Interaction and
// Nowcasting Networks" (Knyazev et al., ICLR 2025).

// paperTasks are the columns of its tables 1 and 2.
var paperTasks = []string{"fm-16", "c10-16", "lm1b-3-24", "lm1b-2-32", "fm-32", "c10-32", "c100-32", "lm1b-3-64", "wiki-3-64"}

// paperReductions is table 2: percent fewer steps to the target than Adam, over
// paperTasks.
var paperReductions = map[string][]float64{
	"linefit":    {27.0, 26.8, 32.6, 31.9, 16.6, 26.5, 20.7, 29.8, 33.3},
	"wnn":        {29.3, 31.4, 26.1, 23.4, 22.2, 27.9, 25.0, 27.7, 25.9},
	"linefit+":   {27.3, 28.3, 32.6, 29.8, 23.3, 27.0, 25.0, 25.5, 33.3},
	"wnn+":       {33.8, 45.1, 45.7, 44.7, 31.6, 44.0, 37.8, 38.3, 37.0},
	"nino-naive": {48.7, 53.1, 33.7, 12.8, 42.1, 49.3, 37.8, 23.4, 33.3},
	"nino":       {46.8, 56.8, 50.0, 48.9, 46.8, 49.8, 44.3, 48.9, 48.1},
}

// paperSteps is table 1: steps to the target.
var paperSteps = map[string][]float64{
	"none": {8606, 8732, 23000, 23500, 8269, 8607, 8341, 23500, 13500},
	"nino": {4582, 3775, 11500, 12000, 4395, 4323, 4646, 12000, 7000},
}

// paperNames are what the paper calls the methods.
var paperNames = map[string]string{
	"none": "Adam", "linefit": "Linefit", "wnn": "WNN", "linefit+": "Linefit+", "wnn+": "WNN+", "nino-naive": "NiNo (naive graph)", "nino": "NiNo",
}

// paperFigure is the figure of a method on a task, NaN where the paper has none.
func paperFigure(table map[string][]float64, method, task string) float64 {
	row := table[method]
	for i, t := range paperTasks {
		if t == task && row != nil {
			return row[i]
		}
	}
	return math.NaN()
}

// paperAverage is the mean of a method's reductions over the tasks that the
// paper has, NaN where it has none.
func paperAverage(method string, tasks []Task) float64 {
	sum, n := 0.0, 0
	for _, t := range tasks {
		if v := paperFigure(paperReductions, method, t.Name); !math.IsNaN(v) {
			sum += v
			n++
		}
	}
	return sum / float64(n)
}
