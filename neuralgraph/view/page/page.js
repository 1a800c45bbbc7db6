"use strict";
// The page: panes, lists, search, details, keys. The address after # says what
// to show: view, theme, search, list, unfold, select (a parameter by name).
const $ = id => document.getElementById(id);
const make = (tag, props, ...children) => { const e = Object.assign(document.createElement(tag), props); e.append(...children); return e; };
const number = n => n.toLocaleString("en-US");
const wish = new URLSearchParams(location.hash.slice(1));

const data = JSON.parse($("data").textContent);
for (const s of Object.values(data.scenes)) {
  s.nodes = s.nodes.map(n => ({ lines: [], facts: [], params: [], groups: [], name: "", inside: "", alias: "", ...n }));
  s.edges = s.edges.map(e => ({ from: e[0], to: e[1], kind: s.kinds[e[2]], label: s.labels[e[3]], reversed: !!e[4], params: e[5] || [] }));
}

// selected is what the details show: a node, a box, a parameter or a group.
const selected = {
  what: null,
  is(pane, b) {
    const w = this.what;
    return !!w && w.pane === pane && (w.type === "box" ? w.key === b.key : w.type === "node" && b.node === -1 ? false : w.type === "node" && pane.leaf[w.index] === b);
  },
  param() { return this.what && this.what.type === "param" ? this.what.index : -1; },
};

// marked says what belongs to the selection in a pane: blocks and lines with
// its parameters or its group.
function marked(pane) {
  const w = selected.what, params = new Set();
  let group = null;
  if (w && w.type === "param") params.add(w.index);
  if (w && w.type === "node" && w.pane !== pane) w.pane.scene.nodes[w.index].params.forEach(p => params.add(p));
  if (w && w.type === "group") group = w.id;
  const blocks = new Set();
  if (params.size || group !== null) {
    pane.scene.nodes.forEach((n, i) => { if (n.params.some(p => params.has(p)) || group !== null && n.groups.includes(group)) blocks.add(pane.leaf[i]); });
  }
  return { block: b => blocks.has(b), line: l => params.size > 0 && l.all.some(e => e.params.some(p => params.has(p))) };
}

let tipElement = null;
function tip(e, text) {
  if (!e || !text) { if (tipElement) tipElement.hidden = true; return; }
  if (!tipElement) { tipElement = make("div", { className: "tip" }); $("stage").append(tipElement); }
  tipElement.hidden = false;
  tipElement.textContent = text;
  const r = $("stage").getBoundingClientRect();
  tipElement.style.left = Math.min(e.clientX - r.left + 14, r.width - 230) + "px";
  tipElement.style.top = e.clientY - r.top + 14 + "px";
}

// Panes.
const panes = {};
const shows = { neurons: ["neurons"], operators: ["operators"], both: ["neurons", "operators"], adjacency: ["adjacency"] };
const viewNames = { neurons: "Neurons", operators: "Operators", both: "Side by side", adjacency: "Adjacency" };
let view = "";

function pane(name) {
  if (!panes[name]) {
    const hidden = view !== "" && !shows[view].includes(name);
    panes[name] = name === "adjacency" ? new MatrixPane($("stage")) : new ScenePane($("stage"), viewNames[name], data.scenes[name]);
    if (name !== "adjacency" && wish.get("unfold") === "all") panes[name].standard = "open";
    caption(panes[name], name);
    panes[name].element.hidden = hidden;
  }
  return panes[name];
}

function caption(p, name) {
  const c = p.caption;
  c.textContent = viewNames[name];
  const kinds = name === "adjacency" ? data.adjacency.kinds : data.scenes[name].kinds.filter(k => k !== "flow");
  for (const k of kinds) {
    const mark = make("i");
    mark.style.background = lineOf(k);
    c.append(mark, lookOf(k) === data.looks.other ? k : lookOf(k).name);
  }
  if (name === "adjacency") c.append(" · rows: from, columns: to · " + number(data.adjacency.nodes) + " nodes, " + number(data.nino.edges) + " edges");
  if (name === "operators" && data.scenes.operators.hidden) c.append(" · " + data.scenes.operators.hidden + " operators of shapes left out");
}

function setView(v) {
  view = v;
  for (const b of $("views").children) b.setAttribute("aria-selected", b.dataset.view === v);
  for (const [name, p] of Object.entries(panes)) p.element.hidden = !shows[v].includes(name);
  for (const name of shows[v]) { // first in place, so that their sizes are known
    pane(name).element.hidden = false;
    $("stage").append(panes[name].element);
  }
  for (const name of shows[v]) {
    const p = panes[name];
    if (!p.arranged) { p.arranged = true; p.arrange(); }
    p.redraw();
  }
  listPane = panes[shows[v].find(n => n !== "adjacency")] || listPane || null;
  refresh();
}
const shown = () => shows[view].map(n => panes[n]);
function changed() { refresh(); }

// Lists. Only the rows in sight exist.
const rowHeight = 24;
const lists = { outline: "Outline", params: "Parameters", groups: "Groups" };
if (data.coverage.opaque.length) lists.opaque = "Opaque";
let list = "outline", listPane = null, rows = [], current = -1;

function outline(pane) {
  const out = [];
  const walk = (b, depth) => {
    for (const c of b.children) {
      if (!c.box) {
        const n = pane.scene.nodes[c.node];
        out.push({ depth, title: pane.nodeTitle(c), sub: pane.name === "Operators" ? n.result || n.lines[0] || "" : n.lines[0] || "", kind: n.kind, block: c, pane, pick: { type: "node", pane, index: c.node } });
        continue;
      }
      out.push({ depth, title: boxTitle(c), sub: c.box.p + (c.box.c > 1 ? " in each" : " inside"), mark: c.shut ? "▸" : "▾", block: c, pane, pick: { type: "box", pane, key: c.key, box: c.box } });
      if (!c.shut) walk(c, depth + 1);
    }
  };
  walk(pane.root, 0);
  return out;
}

function searchScene(pane, words) {
  const out = [];
  pane.scene.nodes.forEach((n, i) => {
    const text = (n.title + " " + n.name + " " + n.lines.join(" ") + " " + n.params.map(p => data.params[p].name).join(" ")).toLowerCase();
    if (words.every(w => text.includes(w))) out.push({ depth: 0, title: n.title, sub: n.name || n.lines[0] || "", kind: n.kind, pane, pick: { type: "node", pane, index: i } });
  });
  return out;
}

function refresh() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const match = text => words.every(w => text.toLowerCase().includes(w));
  for (const b of $("lists").children) b.setAttribute("aria-selected", b.dataset.list === list);
  if (list === "outline") {
    const p = listPane || pane("neurons");
    if (!p.root) { p.arranged = true; p.arrange(); }
    rows = words.length ? searchScene(p, words) : outline(p);
  } else if (list === "params") {
    rows = data.params.map((p, i) => ({ depth: 0, title: p.name, sub: p.shape, pick: { type: "param", index: i } })).filter(r => match(r.title));
  } else if (list === "groups") {
    rows = data.groups.map(g => ({ depth: 0, title: g.id + " " + g.name, sub: g.role + " of " + number(g.size), mark: g.permutable ? "⇄" : "·", pick: { type: "group", id: g.id } })).filter(r => match(r.title + " " + r.sub));
  } else {
    rows = data.coverage.opaque.map(o => ({ depth: 0, title: o.parameter, sub: o.reason, pick: { type: "param", index: data.params.findIndex(p => p.name === o.parameter) } })).filter(r => match(r.title + " " + r.sub));
  }
  current = -1;
  $("spacer").style.height = rows.length * rowHeight + "px";
  $("found").textContent = words.length ? number(rows.length) + " found" : number(rows.length) + " rows";
  drawList();
}

const same = (a, b) => a && b && a.type === b.type && a.pane === b.pane && a.index === b.index && a.key === b.key && a.id === b.id;
function drawList() {
  const l = $("list"), first = Math.max(0, Math.floor(l.scrollTop / rowHeight) - 4), last = Math.min(rows.length, first + Math.ceil(l.clientHeight / rowHeight) + 8);
  for (const e of [...l.querySelectorAll(".row")]) e.remove();
  for (let i = first; i < last; i++) {
    const r = rows[i], e = make("div", { className: "row", title: r.title + (r.sub ? "\n" + r.sub : "") });
    e.style.top = i * rowHeight + "px";
    e.style.paddingLeft = 8 + r.depth * 14 + "px";
    e.setAttribute("role", "option");
    e.setAttribute("aria-selected", i === current || same(r.pick, selected.what));
    const mark = make("span", { className: r.kind ? "dot" : "mark", textContent: r.mark || "" });
    if (r.kind) mark.style.background = lineOf(r.kind);
    if (r.mark && r.block) mark.onclick = ev => { ev.stopPropagation(); r.pane.cycle(r.block); };
    e.append(mark, make("span", { className: "t", textContent: r.title }), make("span", { className: "s", textContent: r.sub }));
    e.onclick = () => { current = i; select(r.pick, true); };
    e.ondblclick = () => { if (r.block && r.block.box) r.pane.cycle(r.block); };
    l.append(e);
  }
}

// Details.
function select(what, reveal) {
  selected.what = what;
  if (reveal && what && what.pane) {
    const p = what.pane;
    if (!p.element.hidden || view === "adjacency") {
      if (p.element.hidden) setView(p === panes.operators ? "operators" : "neurons");
      const b = what.type === "node" ? p.leaf[what.index] : findBox(p.root, what.key);
      if (b) p.show(b);
    }
  } else if (reveal && what) {
    for (const p of shown()) if (p.root) revealMarked(p);
  }
  details();
  drawList();
  for (const p of shown()) p.redraw();
}
function findBox(b, key) { for (const c of b.children) { if (c.key === key) return c; const f = findBox(c, key); if (f) return f; } return null; }
function revealMarked(p) {
  const m = marked(p);
  const find = b => { for (const c of b.children) { if (c.box && !c.shut) { const f = find(c); if (f) return f; } else if (m.block(c)) return c; } return null; };
  const b = find(p.root);
  if (b) p.show(b);
}

function table(pairs) {
  const t = make("table");
  for (const [k, v] of pairs) { const td = make("td"); td.append(v); t.append(make("tr", {}, make("td", { textContent: k }), td)); }
  return t;
}
function link(text, what) { return make("a", { textContent: text, tabIndex: 0, onclick: () => select(what, true), onkeydown: e => { if (e.key === "Enter") select(what, true); } }); }
const paramLink = i => link(data.params[i].name, { type: "param", index: i });
const groupLink = id => { const g = data.groups.find(g => g.id === id); return link(g ? g.id + " (" + number(g.size) + ")" : id, { type: "group", id }); };
function joined(list, sep = ", ") { const s = make("span"); list.forEach((x, i) => { if (i) s.append(sep); s.append(x); }); return s; }
const heading = text => make("h3", { textContent: text });

function details() {
  const r = $("right"), w = selected.what;
  r.replaceChildren();
  if (!w) return summary(r);
  ({ node: nodeDetails, box: boxDetails, param: paramDetails, group: groupDetails })[w.type](r, w);
}

function summary(r) {
  r.append(make("h2", { textContent: "The model" }));
  const m = data.model, c = data.coverage;
  r.append(table([["parameters", number(m.parameters)], ["multiplications", number(m.macs)], ["operators", number(m.nodes)], ["opset", m.opset],
    ["neuron groups", number(data.groups.length) + ", " + data.groups.filter(g => g.permutable).length + " permutable"],
    ["residual sums", number(data.residuals.length)],
    ["NiNo graph", number(data.nino.nodes) + " nodes, " + number(data.nino.edges) + " edges"],
    ["coverage", data.covered], ["certificate", make("span", { textContent: data.certificate || "not run (--verify)", className: data.certified === "" ? "" : data.certified })]]));
  if (data.attention.length) {
    r.append(heading("Attention"));
    r.append(table(data.attention.slice(0, 40).map((a, i) => [i, a.heads + " heads of " + a.head_dim + (a.kv_heads !== a.heads ? ", " + a.kv_heads + " of keys and values" : "") + (a.rope ? ", rotary" : "") + (a.packed ? ", packed" : "")])));
  }
  r.append(heading("Edges"));
  r.append(table(data.edgeTypes.map(t => [t[0], number(t[1])])));
  if (c.opaque.length) {
    r.append(heading("Opaque"));
    for (const o of c.opaque.slice(0, 30)) {
      r.append(link(o.parameter, { type: "param", index: data.params.findIndex(p => p.name === o.parameter) }), make("p", { textContent: o.reason }));
    }
  }
}

function nodeDetails(r, w) {
  const n = w.pane.scene.nodes[w.index];
  r.append(make("h2", { textContent: n.title }), make("p", { textContent: [n.name, ...n.lines].filter(Boolean).join(" · ") }));
  if (n.facts.length) r.append(table(n.facts.filter(f => f[1] !== "" && !(f[0] === "name"))));
  if (n.params.length) {
    r.append(heading("Parameters"));
    for (const p of n.params) r.append(paramLink(p), make("p", { textContent: data.params[p].shape + " · " + number(data.params[p].elements) + " · " + data.params[p].types }));
  }
  if (n.groups.length) r.append(heading("Groups"), joined(n.groups.map(groupLink)));
  const near = (side, other) => [...new Set(w.pane.scene.edges.filter(e => e[side] === w.index).map(e => e[other]))].slice(0, 24);
  const node = i => link(w.pane.scene.nodes[i].title, { type: "node", pane: w.pane, index: i });
  const before = near("to", "from"), after = near("from", "to");
  if (before.length) r.append(heading("Before"), joined(before.map(node)));
  if (after.length) r.append(heading("Behind"), joined(after.map(node)));
}

function boxDetails(r, w) {
  r.append(make("h2", { textContent: w.box.t }));
  let sum = 0;
  const first = Number(w.key.split(":")[0]), seen = new Set();
  for (let i = 0; i < w.box.p * w.box.c; i++) for (const p of w.pane.scene.nodes[first + i].params) seen.add(p);
  seen.forEach(p => { sum += data.params[p].elements; });
  r.append(make("p", { textContent: (w.box.c > 1 ? w.box.c + " copies of " + w.box.p : w.box.p) + (w.pane === panes.operators ? " operators" : " layers") + ", " + number(sum) + " parameters" }));
  const act = (text, state) => make("button", { textContent: text, onclick: () => w.pane.set(w.key, state) });
  const buttons = make("div", { className: "do" });
  if (w.box.c > 1) buttons.append(act("Show one copy", "fold"), act("Show all " + w.box.c, "open")); else buttons.append(act("Open", "open"));
  buttons.append(act("Close", "shut"));
  r.append(buttons);
}

function paramDetails(r, w) {
  const p = data.params[w.index];
  if (!p) return;
  r.append(make("h2", { textContent: p.name }));
  r.append(table([["shape", p.shape], ["elements", number(p.elements)], ["edges", p.types]]));
  if (p.reason) r.append(heading("Opaque"), make("p", { textContent: p.reason }));
  if (p.blocks.length) {
    r.append(heading("Blocks"));
    for (const b of p.blocks.slice(0, 60)) {
      const k = data.blocks[b];
      const line = make("p");
      line.append(k.typeName + (k.slice ? " [" + k.slice + "]" : "") + ": ", joined(k.source.map(groupLink), "·"), " → ", joined(k.target.map(groupLink), "·"), " · " + number(k.edges) + " edges" + (k.taps > 1 ? " of " + k.taps : ""));
      r.append(line);
    }
  }
  for (const [name, scene] of Object.entries(data.scenes)) {
    const at = [];
    scene.nodes.forEach((n, i) => { if (n.params.includes(w.index)) at.push(i); });
    if (!at.length) continue;
    const to = pane(name);
    if (!to.root) { to.arranged = true; to.arrange(); to.element.hidden = !shows[view].includes(name); }
    r.append(heading(viewNames[name]), joined(at.slice(0, 20).map(i => link(scene.nodes[i].title + (scene.nodes[i].name ? " " + scene.nodes[i].name : ""), { type: "node", pane: to, index: i }))));
  }
}

function groupDetails(r, w) {
  const g = data.groups.find(g => g.id === w.id);
  if (!g) return;
  r.append(make("h2", { textContent: g.id + " " + g.name }));
  r.append(table([["role", g.role], ["neurons", number(g.size)], ["permutable", make("span", { textContent: g.permutable ? (data.failed.includes(g.id) ? "the certificate failed" : "yes") : "no: " + g.reason, className: data.failed.includes(g.id) ? "bad" : "" })]]));
  const through = side => [...new Set(data.blocks.filter(b => b[side].includes(g.id)).map(b => b.parameter))].map(name => data.params.findIndex(p => p.name === name)).filter(i => i >= 0);
  for (const [title, side] of [["Parameters that lead here", "target"], ["Parameters that lead away", "source"]]) {
    const found = through(side);
    if (found.length) r.append(heading(title), joined(found.slice(0, 80).map(paramLink)));
  }
}

// Keys.
const keys = [
  ["/", "search", () => { $("search").focus(); $("search").select(); }],
  ["1", "neurons", () => setView("neurons")], ["2", "operators", () => setView("operators")], ["3", "side by side", () => setView("both")], ["4", "adjacency", () => setView("adjacency")],
  ["e", "unfold all", () => foldAll("open")], ["c", "fold all", () => foldAll("fold")],
  ["f", "fit", () => shown().forEach(p => p.fit())], ["w", "the whole at once", () => shown().forEach(p => p.overview())],
  ["+", "closer", () => shown().forEach(p => p.zoom(1.25))], ["-", "farther", () => shown().forEach(p => p.zoom(0.8))],
  ["t", "light or dark", () => setTheme(colour.dark ? "light" : "dark")], ["Escape", "select nothing", () => { $("search").blur(); select(null); }],
  ["?", "this list", () => $("keys").showModal()],
];
function foldAll(state) { for (const p of shown()) if (p.all) p.all(state); }
function setTheme(t) {
  document.documentElement.dataset.theme = t;
  readColours();
  for (const [name, p] of Object.entries(panes)) { caption(p, name); p.redraw(); }
  drawList();
}
addEventListener("keydown", e => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  const typing = document.activeElement === $("search");
  if (e.key === "ArrowDown" || e.key === "ArrowUp") {
    if (!typing && document.activeElement !== $("list") && document.activeElement !== document.body) return;
    e.preventDefault();
    current = Math.min(Math.max(current + (e.key === "ArrowDown" ? 1 : -1), 0), rows.length - 1);
    const l = $("list"), top = current * rowHeight;
    if (top < l.scrollTop) l.scrollTop = top; else if (top + rowHeight > l.scrollTop + l.clientHeight) l.scrollTop = top + rowHeight - l.clientHeight;
    if (rows[current]) select(rows[current].pick, true);
    return;
  }
  if (e.key === "Enter" && rows[current] && document.activeElement.tagName !== "BUTTON" && document.activeElement.tagName !== "A") {
    const b = rows[current].block;
    if (b && b.box) rows[current].pane.cycle(b);
    return;
  }
  if (typing && e.key !== "Escape") return;
  const k = keys.find(k => k[0] === e.key);
  if (k) { e.preventDefault(); k[2](); }
});

let first = true;
function painted() {
  if (!first) return;
  first = false;
  document.body.dataset.painted = Math.round(performance.now());
}

function start() {
  document.documentElement.dataset.theme = wish.get("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  readColours();
  $("numbers").textContent = data.numbers + " · coverage " + data.covered + " · ";
  $("numbers").append(make("span", { className: data.certified, textContent: data.certificate ? "certificate: " + data.certificate : "certificate not run" }));
  for (const v of Object.keys(shows)) $("views").append(make("button", { textContent: viewNames[v], onclick: () => setView(v) }));
  [...$("views").children].forEach((b, i) => { b.dataset.view = Object.keys(shows)[i]; b.setAttribute("role", "tab"); });
  for (const [k, name] of Object.entries(lists)) { const b = make("button", { textContent: name, onclick: () => { list = k; refresh(); } }); b.dataset.list = k; b.setAttribute("role", "tab"); $("lists").append(b); }
  $("unfold").onclick = () => foldAll("open");
  $("fold").onclick = () => foldAll("fold");
  $("fit").onclick = () => shown().forEach(p => p.fit());
  $("theme").onclick = () => setTheme(colour.dark ? "light" : "dark");
  $("help").onclick = () => $("keys").showModal();
  const t = make("table");
  for (const [k, what] of keys) t.append(make("tr", {}, make("td", {}, make("kbd", { textContent: k })), make("td", { textContent: what })));
  t.append(make("tr", {}, make("td", {}, make("kbd", { textContent: "↑ ↓ Enter" })), make("td", { textContent: "walk through the list, open or close" })));
  $("keys").append(t, make("form", { method: "dialog" }, make("button", { textContent: "Close" })));
  $("list").addEventListener("scroll", () => requestAnimationFrame(drawList));
  $("search").addEventListener("input", refresh);
  new ResizeObserver(drawList).observe($("list"));
  if (lists[wish.get("list")]) list = wish.get("list");
  $("search").value = wish.get("search") || "";
  details();
  setView(shows[wish.get("view")] ? wish.get("view") : data.view);
  const p = data.params.findIndex(p => p.name === wish.get("select"));
  if (p >= 0) select({ type: "param", index: p }, true);
  if (wish.get("row") !== null && rows[wish.get("row")]) select(rows[wish.get("row")].pick, true);
  for (const p of shown()) p.paint();
  const scenes = shown().filter(p => p.root);
  document.body.dataset.ready = Math.round(performance.now());
  document.body.dataset.blocks = scenes.map(p => p.blocks).join(" ");
  document.body.dataset.layout = scenes.map(p => Math.round(p.layoutTime)).join(" ");
}
start();
