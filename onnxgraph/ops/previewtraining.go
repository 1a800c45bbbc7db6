// https://onnx.ai/onnx/operators/index.html#ai-onnx-preview-training

package ops

import (
	"ninox/onnxgraph/op"
)

const preview = "ai.onnx.preview.training"

// previewTraining are the specification's own optimizers, which update n
// tensors at once, and its derivative. No runtime has them: the optimizers
// enter through their lowerings.
var previewTraining = []*op.Def{
	optimizer("Adagrad", attrs(aFloat("decay_factor"), aFloat("epsilon"), aFloat("norm_coefficient")), 1, stepAdagrad),
	optimizer("Adam", attrs(aFloat("alpha"), aFloat("beta"), aFloat("epsilon"), aFloat("norm_coefficient"), aFloat("norm_coefficient_post")), 2, stepAdam),
	optimizer("Momentum", attrs(need(aFloat("alpha")), need(aFloat("beta")), need(aStr("mode")), need(aFloat("norm_coefficient"))), 1, stepMomentum),
	{
		Domain: preview, Name: "Gradient", Versions: since(1), Attrs: attrs(need(aStrs("xs")), need(aStr("y")), aStrs("zs")), In: op.AtLeast(1), Out: op.AtLeast(1),
		Infer: func(c *op.InferCtx) error { // a gradient has the type of what it belongs to
			if len(c.Out) > len(c.In) {
				return c.Errorf("xs", "%d outputs for %d inputs", len(c.Out), len(c.In))
			}
			for i, f := range c.In[:len(c.Out)] {
				c.Set(i, f.DType(), f.Shape().Clone())
			}
			return nil
		},
		Flow:  op.Opaque("names values of the graph around it"),
		Grad:  op.NotDifferentiable("names values of the graph around it"),
		Lower: op.Primitive,
	},
}

// updating is what one optimizer step of one tensor works with. The rate is R,
// the number of steps before is T.
type updating struct {
	lowCalc
	rate, count string
	x, grad     string // the gradient includes the penalty norm_coefficient·x
	state       []string
}

// optimizer updates n tensors, each with a gradient and states: the inputs are
// R, T, all tensors, all gradients, all first states …, the outputs all
// tensors, all first states ….
func optimizer(name string, a []op.AttrSpec, states int, step func(u updating) (x string, state []string)) *op.Def {
	count := func(inputs int) (int, bool) {
		n := (inputs - 2) / (2 + states)
		return n, n > 0 && inputs == 2+n*(2+states)
	}
	return &op.Def{
		Domain: preview, Name: name, Versions: since(1), Attrs: a, In: op.AtLeast(2 + 2 + states), Out: op.AtLeast(1),
		Infer: func(c *op.InferCtx) error {
			n, ok := count(len(c.In))
			if !ok || len(c.Out) != n*(1+states) {
				return c.Errorf("", "%d inputs and %d outputs, expected 2+%d·n and %d·n", len(c.In), len(c.Out), 2+states, 1+states)
			}
			for i := range c.Out {
				from := c.I(2 + i%n)
				c.Set(i, from.DType(), from.Shape().Clone())
			}
			return nil
		},
		Flow: op.Opaque("an optimizer"),
		Grad: op.NotDifferentiable("an optimizer"),
		Lower: lowers(func(k lowCalc) error {
			n, _ := count(len(k.Node().Inputs))
			penalty := float64(k.Node().Float("norm_coefficient", 0))
			for i := range n {
				u := updating{lowCalc: k, rate: k.I(0), count: k.I(1), x: k.I(2 + i), grad: k.I(2 + n + i)}
				if penalty != 0 {
					u.grad = k.add(u.grad, k.scale(u.x, penalty))
				}
				for s := range states {
					u.state = append(u.state, k.I(2+(2+s)*n+i))
				}
				x, state := step(u)
				k.SetO(i, x)
				for s, v := range state {
					k.SetO((1+s)*n+i, v)
				}
			}
			return nil
		}),
	}
}

// descend is x − rate·direction.
func (u updating) descend(rate, direction string) string {
	return u.sub(u.x, u.mul(rate, direction))
}

func stepAdagrad(u updating) (string, []string) {
	n := u.Node()
	steps := u.scale(u.cast(u.count, u.Fact(u.rate).DType()), float64(n.Float("decay_factor", 0)))
	rate := u.div(u.rate, u.add(steps, u.ScalarLike(steps, 1)))
	squares := u.add(u.state[0], u.square(u.grad))
	root := u.one("Sqrt", squares)
	return u.descend(rate, u.div(u.grad, u.add(root, u.ScalarLike(root, float64(n.Float("epsilon", 1e-6)))))), []string{squares}
}

// average is decay·old + (1−decay)·new.
func (u updating) average(old, new string, decay float64) string {
	return u.add(u.scale(old, decay), u.scale(new, 1-decay))
}

func stepAdam(u updating) (string, []string) {
	n := u.Node()
	alpha, beta := float64(n.Float("alpha", 0.9)), float64(n.Float("beta", 0.999))
	mean := u.average(u.state[0], u.grad, alpha)
	squares := u.average(u.state[1], u.square(u.grad), beta)
	root := u.one("Sqrt", squares)
	direction := u.div(mean, u.add(root, u.ScalarLike(root, float64(n.Float("epsilon", 1e-6)))))
	// Both averages start at 0: what they lack after T steps is made good in the rate.
	steps := u.cast(u.count, u.Fact(u.rate).DType())
	share := func(decay float64) string {
		return u.sub(u.ScalarLike(steps, 1), u.two("Pow", u.ScalarLike(steps, decay), steps))
	}
	corrected := u.mul(u.rate, u.div(u.one("Sqrt", share(beta)), share(alpha)))
	started := u.two("Greater", steps, u.ScalarLike(steps, 0))
	x := u.descend(u.where(started, corrected, u.rate), direction)
	return u.scale(x, 1-float64(n.Float("norm_coefficient_post", 0))), []string{mean, squares}
}

func stepMomentum(u updating) (string, []string) {
	n := u.Node()
	alpha := float64(n.Float("alpha", 0))
	// The first step takes the whole gradient.
	steps := u.cast(u.count, u.Fact(u.rate).DType())
	weight := u.where(u.two("Greater", steps, u.ScalarLike(steps, 0)), u.ScalarLike(steps, float64(n.Float("beta", 0))), u.ScalarLike(steps, 1))
	velocity := u.add(u.scale(u.state[0], alpha), u.mul(weight, u.grad))
	direction := velocity
	if n.Str("mode", "") == "nesterov" {
		direction = u.add(u.grad, u.scale(velocity, alpha))
	}
	return u.descend(u.rate, direction), []string{velocity}
}
