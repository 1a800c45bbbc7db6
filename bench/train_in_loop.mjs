// Trains a model of `ninox artifacts --form loop` in onnxruntime-web under Node;
// called by train_in_loop.py. Arguments: node_modules with onnxruntime-web, job as JSON.
// Prints the losses as JSON.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [modules, text] = process.argv.slice(2);
const job = JSON.parse(text);
const ort = createRequire(join(modules, "anchor.js"))("onnxruntime-web");
ort.env.wasm.numThreads = 1;

const bytes = (file) => new Uint8Array(readFileSync(file)).buffer;
const feeds = {
  "x.data": new ort.Tensor("float32", new Float32Array(bytes(job.x)), [job.samples, job.features]),
  "labels.data": new ort.Tensor("int64", new BigInt64Array(bytes(job.y)), [job.samples]),
  learning_rate: new ort.Tensor("float32", new Float32Array([job.lr]), [1]),
  batch_size: new ort.Tensor("int64", BigInt64Array.of(BigInt(job.batch)), []),
  step: new ort.Tensor("int64", BigInt64Array.of(0n), [1]),
  state: new ort.Tensor("float32", new Float32Array(0), [0]),
  steps: new ort.Tensor("int64", BigInt64Array.of(BigInt(job.steps)), []),
};
const session = await ort.InferenceSession.create(new Uint8Array(bytes(job.model)), { executionProviders: ["wasm"] });
const losses = [];
for (let call = 0; call < job.calls; call++) {
  const out = await session.run(feeds);
  losses.push(...out.losses.data);
  feeds.step = out["step.final"];
  feeds.state = out["state.final"];
}
console.log(JSON.stringify(losses));
