#!/usr/bin/env python3
"""Runs ninox over the exports of export.py and tabulates what it found.

    python3 bench/zoo/table.py NINOX DIR [--models NAME,...] [--out docs/MODELS.md] [--jobs 1] [--train]

For each file of DIR: `ninox graph FILE --format json --verify`. The results are
kept in DIR as NAME.VARIANT.graph.json. Attention is held against the figures in
NAME.json, and the exports of one network against each other: their graphs must
be the same up to the order and the names of groups. --train also asks `ninox
trainable` and `ninox artifacts`, and prints what they refuse. Standard library only.
"""
import argparse, collections, concurrent.futures, glob, hashlib, json, os, re, subprocess, sys, tempfile, time

LIMIT = 300  # seconds a command may take


def run(command):
    start = time.time()
    try:
        r = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
        return r.returncode, r.stdout, r.stderr.strip(), time.time() - start
    except subprocess.TimeoutExpired:
        return 124, "", f"no answer within {LIMIT} s", LIMIT


def graph(ninox, path):
    code, out, err, _ = run([ninox, "graph", path, "--format", "json", "--verify", "--quiet"])
    _, _, _, seconds = run([ninox, "graph", path, "--format", "json", "--quiet"])
    err = err.replace(path, os.path.basename(path))
    result = dict(code=code, message=err, seconds=seconds, graph=json.loads(out) if out.startswith("{") else None)
    with open(path.removesuffix(".onnx") + ".graph.json", "w") as f:
        json.dump(result, f)
    return result


def digest(x):
    return hashlib.sha256(repr(x).encode()).hexdigest()[:12]


def canonical(g, weights=True):
    """A colour of the whole graph that order and names do not change: groups
    and blocks refine each other's colours. Without weights only what the
    groups are counts."""
    groups = {x["id"]: (x["role"], x["size"], x["permutable"]) for x in g["groups"]}
    if not weights:
        return digest(sorted(v for v in groups.values() if v[2]))
    colour = {i: digest(v) for i, v in groups.items()}
    blocks = [b for b in g["blocks"]]
    for _ in range(12):
        seen = collections.defaultdict(list)
        edge = []
        for b in blocks:
            ends = sorted(colour[i] for i in b["source"]), sorted(colour[i] for i in b["target"])
            c = digest((b["type"], b["taps"], b["edges"], ends))
            edge.append(c)
            for side in ("source", "target"):
                for i in b[side]:
                    seen[i].append((side, c))
        colour = {i: digest((colour[i], sorted(seen[i]))) for i in groups}
    nino = g["nino"]
    return digest((sorted(colour.values()), sorted(edge), nino["nodes"], sorted(nino["edges_by_type"].items())))


FIGURES = ("heads", "kv_heads", "head_dim", "rope", "packed")


def layers(attention):
    return sorted(tuple(a[k] for k in FIGURES) for a in attention)


def spelled(attention):
    """'2×(3 heads of 8, packed)', kinds of layers in turn."""
    out = []
    for (h, kv, d, rope, packed), n in sorted(collections.Counter(layers(attention)).items()):
        text = f"{h}{f'/{kv}' if kv != h else ''} heads of {d}{', rope' if rope else ''}{', packed' if packed else ''}"
        out.append(f"{n}×({text})")
    return " + ".join(out) or "none"


def shortened(text, width=300):
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) <= width else text[:width] + " …"


def certificate(r):
    c = r["graph"].get("certificate") if r["graph"] else None
    if not c:
        return "none"
    if c["failed"]:
        return f"**fails**: {c['passed']} of {c['groups']}"
    changed = c["negative_control"]["changed"]
    return f"{c['passed']} of {c['groups']}" + ("" if changed or not c["groups"] else ", control blind")


def faults(info, r):
    """What is wrong with the answer for one export."""
    g, out = r["graph"], []
    if not g:
        return [f"exit code {r['code']}: {shortened(r['message'])}"]
    if r["code"]:
        out.append(f"exit code {r['code']}: {shortened(r['message'])}")
    cov = g["coverage"]
    if cov["in_blocks"] < 0.99 * cov["parameters"]:
        out.append(f"coverage {100 * cov['in_blocks'] / max(cov['parameters'], 1):.1f} %")
    if layers(g["attention"]) != layers(info["attention"]):
        out.append(f"attention {spelled(g['attention'])}, truly {spelled(info['attention'])}")
    c = g.get("certificate") or {}
    if c.get("groups") and not c["negative_control"]["changed"]:
        out.append("the negative control changes nothing")
    return out


def row(name, variant, r):
    g = r["graph"]
    if not g:
        return f"| {name} | {variant} | – | – | – | – | – | – | {r['seconds']:.2f} |"
    cov = g["coverage"]
    free = sum(x["permutable"] for x in g["groups"])
    share = 100 * cov["in_blocks"] / max(cov["parameters"], 1)
    return (f"| {name} | {variant} | {cov['parameters']:,} | {share:.4g} % | {len(g['groups'])} ({free}) | {spelled(g['attention'])} | {certificate(r)} | "
            f"{g['nino']['nodes']:,} / {g['nino']['edges']:,} | {r['seconds']:.2f} |")


def compared(results):
    """Sets of variants with the same graph, and with the same groups."""
    whole, part = collections.defaultdict(list), collections.defaultdict(list)
    for v, r in results.items():
        if r["graph"]:
            whole[canonical(r["graph"])].append(v)
            part[canonical(r["graph"], False)].append(v)
    return list(whole.values()), list(part.values())


def agreement(answers, variants):
    """'N of M': networks with one graph in those of the variants that exist."""
    sets = [{v: r for v, r in a.items() if v in variants} for a in answers.values()]
    sets = [x for x in sets if len(x) > 1]
    return f"{sum(len(compared(x)[0]) == 1 for x in sets)} of {len(sets)}"


def training(ninox, path):
    """What `trainable` blocks and `artifacts` refuses."""
    out = []
    code, text, err, _ = run([ninox, "trainable", path, "--json", "--quiet"])
    if code:
        out.append(f"trainable, exit code {code}: {shortened(err)}")
    else:
        states = collections.Counter()
        for p in json.loads(text).get("parameters", []):
            states[(p.get("state") or p.get("status"), p.get("reason") or p.get("blocked_by") and str(p["blocked_by"]) or "")] += 1
        out += [f"{n} × {s}: {shortened(r)}" for (s, r), n in states.items() if s not in ("trainable", "statistic")]
    for loss in ("cross-entropy", "mse"):
        with tempfile.TemporaryDirectory() as d:
            code, _, err, _ = run([ninox, "artifacts", path, "-o", os.path.join(d, "a"), "--loss", loss, "--quiet"])
            if code:
                out.append(f"artifacts --loss {loss}, exit code {code}: {shortened(err)}")
    return out


def document(infos, answers):
    o = ["# Models", "",
         "Written by `bench/zoo/run.sh`; do not edit. Small random networks of torchvision, transformers and torch.nn, exported in up to five ways",
         "(bench/zoo/export.py says which and with what versions), and what `ninox graph --format json --verify` says of each file.", ""]
    total = sum(len(a) for a in answers.values())
    good = sum(not faults(infos[n], r) for n, a in answers.items() for r in a.values())
    raw, optimized = agreement(answers, ("legacy_raw", "dynamo_raw")), agreement(answers, ("legacy", "dynamo", "dynamo23"))
    o += [f"{good} of {total} files of {len(answers)} networks: certificate passed, at least 99 % of the parameters on edges, attention as configured. "
          f"One graph in the exports by both exporters: {raw} networks as they are (legacy_raw, dynamo_raw), {optimized} optimized (legacy, dynamo, dynamo23).", ""]
    o += ["Parameters are the values of all float initializers that are weights; covered are those on edges of the neuron graph. Groups: in brackets those that",
          "can be permuted. The certificate counts groups whose permutation left the outputs equal. Seconds are those of `ninox graph` without",
          "`--verify`, start of the program included.", "",
          "| network | export | parameters | covered | groups | attention | certificate | NiNo nodes / edges | s |", "|---|---|---|---|---|---|---|---|---|"]
    for n, a in answers.items():
        o += [row(n, v, r) for v, r in a.items()]
    o += ["", "## What is missing or wrong", ""]
    lines = collections.defaultdict(list)
    for n, a in answers.items():
        for v, r in a.items():
            for f in faults(infos[n], r):
                lines[(n, f)].append(v)
    o += [f"- {n} ({', '.join(v)}): {f}" for (n, f), v in lines.items()] or ["Nothing."]
    o += ["", "## Parameters on no edge", ""]
    lines = collections.defaultdict(set)
    for n, a in answers.items():
        for v, r in a.items():
            for p in (r["graph"] or {}).get("coverage", {}).get("opaque", []):
                lines[(n, p["parameter"], p["reason"])].add(v)
    o += [f"- {n} ({', '.join(sorted(v))}): `{p}`: {why}" for (n, p, why), v in lines.items()] or ["None."]
    o += ["", "## Networks whose exports differ", "",
          "Exporters fold batch norms into convolutions, gather tables at constant places, write tied weights twice or leave initial states out; where only",
          "that differs the permutable groups mostly are the same.", ""]
    for n, a in answers.items():
        whole, part = compared(a)
        if len(whole) > 1:
            groups = "same permutable groups" if len(part) == 1 else "**permutable groups differ**: " + " ≠ ".join(", ".join(x) for x in part)
            o.append(f"- {n}: {' ≠ '.join(', '.join(x) for x in whole)}; {groups}")
    o += ["", "## Exports that could not be made", ""]
    for n, i in infos.items():
        o += [f"- {n}, {v}: {shortened(t, 160)}" for v, t in i["exports"].items() if t != "ok"]
    return "\n".join(o) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("ninox")
    p.add_argument("dir")
    p.add_argument("--models", default="")
    p.add_argument("--variants", default="")
    p.add_argument("--out")
    p.add_argument("--jobs", type=int, default=1)
    p.add_argument("--kept", action="store_true", help="use results that lie in DIR")
    p.add_argument("--train", action="store_true")
    a = p.parse_args()
    a.ninox = os.path.abspath(a.ninox)
    wanted, variants = set(filter(None, a.models.split(","))), set(filter(None, a.variants.split(",")))
    infos, jobs = {}, {}
    with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
        for path in sorted(glob.glob(os.path.join(a.dir, "*.json"))):
            name = os.path.basename(path).removesuffix(".json")
            if "." in name or wanted and name not in wanted:
                continue
            with open(path) as f:
                infos[name] = json.load(f)
            for v, state in infos[name]["exports"].items():
                if state != "ok" or variants and v not in variants:
                    continue
                file = os.path.join(a.dir, f"{name}.{v}.onnx")
                kept = file.removesuffix(".onnx") + ".graph.json"
                if a.train:
                    jobs[name, v] = pool.submit(training, a.ninox, file)
                elif a.kept and os.path.exists(kept):
                    with open(kept) as f:
                        r = json.load(f)
                    jobs[name, v] = pool.submit(lambda r=r: r)
                else:
                    jobs[name, v] = pool.submit(graph, a.ninox, file)
        answers = collections.defaultdict(dict)
        for (name, v), job in jobs.items():
            r = answers[name][v] = job.result()
            wrong = r if a.train else faults(infos[name], r)
            print(f"{name}.{v}: {'; '.join(wrong) or 'ok'}", flush=True)
    if a.train:
        return
    for name, x in answers.items():
        whole, part = compared(x)
        if len(whole) > 1:
            print(f"{name}: graphs differ: {whole}" + (f"; groups differ: {part}" if len(part) > 1 else ""))
    if a.out:
        with open(a.out, "w") as f:
            f.write(document(infos, answers))


if __name__ == "__main__":
    main()
