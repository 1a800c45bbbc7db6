"use strict";
// Panes draw on a canvas what lies in their window, and no more than can be
// seen at its scale.
class Pane {
  constructor(stage, caption) {
    this.element = document.createElement("div");
    this.element.className = "pane";
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", caption);
    this.caption = document.createElement("div");
    this.caption.className = "caption";
    this.element.append(this.canvas, this.caption);
    stage.append(this.element);
    this.scale = 1; this.x = 0; this.y = 0;
    this.touched = false;
    this.pending = false;
    new ResizeObserver(() => { if (!this.touched) this.fit(); this.redraw(); }).observe(this.element);
    this.listen();
  }
  listen() {
    const c = this.canvas;
    let drag = null, moved = 0;
    c.addEventListener("pointerdown", e => { drag = [e.clientX, e.clientY]; moved = 0; c.setPointerCapture(e.pointerId); });
    c.addEventListener("pointermove", e => {
      if (drag) {
        const dx = e.clientX - drag[0], dy = e.clientY - drag[1];
        moved += Math.abs(dx) + Math.abs(dy);
        this.x += dx; this.y += dy; drag = [e.clientX, e.clientY];
        this.touched = true;
        this.redraw();
      } else this.hover(...this.at(e), e);
    });
    c.addEventListener("pointerup", e => { drag = null; if (moved < 5) this.click(...this.at(e)); });
    c.addEventListener("pointerleave", () => tip(null));
    c.addEventListener("dblclick", e => this.double(...this.at(e)));
    c.addEventListener("wheel", e => {
      e.preventDefault();
      if (e.ctrlKey || e.metaKey || !e.shiftKey && this.zooms) this.zoom(Math.exp(-e.deltaY * (e.ctrlKey ? 0.01 : 0.0015)), e.offsetX, e.offsetY);
      else { this.x -= e.deltaX; this.y -= e.deltaY; this.touched = true; this.redraw(); }
    }, { passive: false });
  }
  get zooms() { return true; }
  at(e) {
    const r = this.canvas.getBoundingClientRect();
    return [(e.clientX - r.left - this.x) / this.scale, (e.clientY - r.top - this.y) / this.scale];
  }
  zoom(f, px, py) {
    const w = this.element.clientWidth, h = this.element.clientHeight;
    if (px === undefined) { px = w / 2; py = h / 2; }
    const s = Math.min(Math.max(this.scale * f, this.least || 0.001), this.most || 4);
    this.x = px - (px - this.x) * s / this.scale;
    this.y = py - (py - this.y) * s / this.scale;
    this.scale = s; this.touched = true;
    this.redraw();
  }
  redraw() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => { this.pending = false; this.paint(); });
  }
  paint() {
    const c = this.canvas, w = this.element.clientWidth, h = this.element.clientHeight, d = window.devicePixelRatio || 1;
    if (!w || !h) return;
    if (c.width !== Math.round(w * d) || c.height !== Math.round(h * d)) { c.width = Math.round(w * d); c.height = Math.round(h * d); }
    const g = c.getContext("2d");
    g.setTransform(d, 0, 0, d, 0, 0);
    g.fillStyle = colour.bg;
    g.fillRect(0, 0, w, h);
    g.setTransform(d * this.scale, 0, 0, d * this.scale, d * this.x, d * this.y);
    this.window = { left: -this.x / this.scale, top: -this.y / this.scale, right: (w - this.x) / this.scale, bottom: (h - this.y) / this.scale };
    this.draw(g);
    painted();
  }
  hover() {} click() {} double() {} fit() {} draw() {}
}

// colour holds the colours of the theme.
const colour = {};
function readColours() {
  const s = getComputedStyle(document.documentElement);
  for (const k of ["bg", "panel", "text", "soft", "line", "accent", "pick", "box", "box2", "boxline"]) colour[k] = s.getPropertyValue("--" + k).trim();
  colour.dark = document.documentElement.dataset.theme === "dark";
}
const mixed = new Map();
function mix(a, b, t) {
  const key = a + b + t;
  let m = mixed.get(key);
  if (!m) {
    const p = h => [1, 3, 5].map(i => parseInt(h.slice(i, i + 2), 16)), x = p(a), y = p(b);
    m = "#" + x.map((v, i) => Math.round(v + (y[i] - v) * t).toString(16).padStart(2, "0")).join("");
    mixed.set(key, m);
  }
  return m;
}
const lookOf = kind => data.looks[kind] || data.looks.other;
const lineOf = kind => colour.dark ? mix(lookOf(kind).line, "#ffffff", 0.35) : lookOf(kind).line;
const fillOf = kind => colour.dark ? mix("#141a21", lookOf(kind).line, 0.3) : lookOf(kind).fill || "#f1f3f5";

const titleFont = "600 12.5px system-ui, sans-serif", lineFont = "11px system-ui, sans-serif", labelFont = "10px system-ui, sans-serif";
const ruler = document.createElement("canvas").getContext("2d"), widths = new Map();
function textWidth(font, s) {
  const key = font + s;
  let w = widths.get(key);
  if (w === undefined) { ruler.font = font; widths.set(key, w = ruler.measureText(s).width); }
  return w;
}
function fitText(font, s, width) {
  if (textWidth(font, s) <= width) return s;
  let lo = 2, hi = s.length - 1, best = "";
  while (lo <= hi) {
    const n = (lo + hi) >> 1, head = Math.floor(n / 3), cut = s.slice(0, head) + "…" + s.slice(s.length - (n - head));
    if (textWidth(font, cut) <= width) { best = cut; lo = n + 1; } else hi = n - 1;
  }
  return best;
}

function boxTitle(b) {
  if (b.copy >= 0 && b.box.c > 1) return (b.copy + 1) + " of " + b.box.c;
  return b.box.t;
}

// ScenePane shows a scene as boxes and lines.
class ScenePane extends Pane {
  constructor(stage, name, scene) {
    super(stage, name);
    this.name = name; this.scene = scene; this.states = new Map();
    this.least = 0.02; this.most = 3;
  }
  stateOf(key, box) { return this.states.get(key) || this.standard || (box.c > 1 ? "fold" : box.e ? "shut" : "open"); }
  nodeTitle(b) {
    const n = this.scene.nodes[b.node];
    if (!n.name) for (let p = b.parent; p; p = p.parent) if (p.box && p.copy < 0 && p.box.c > 1) return n.inside || n.title;
    return n.title;
  }
  arrange() {
    const start = performance.now();
    const size = b => {
      if (b.box) return [Math.min(Math.max(textWidth(titleFont, "▸ " + b.box.t) + 26, 90), 300), 40];
      const n = this.scene.nodes[b.node];
      let w = textWidth(titleFont, this.nodeTitle(b));
      for (const l of n.lines) w = Math.max(w, textWidth(lineFont, l));
      return [Math.min(Math.max(w + 20, 84), 270), 26 + 14 * n.lines.length];
    };
    const laid = Layout(this.scene, (k, b) => this.stateOf(k, b), { size, label: s => textWidth(labelFont, s), title: b => textWidth(titleFont, "▾ " + boxTitle(b)) + 20 });
    this.root = laid.root; this.leaf = laid.leaf;
    this.blocks = 0;
    const count = b => { for (const c of b.children) { if (!c.box || c.shut) this.blocks++; count(c); } };
    count(this.root);
    this.layoutTime = performance.now() - start;
    if (!this.touched) this.fit();
    this.redraw();
  }
  fit() {
    if (!this.root) return;
    const w = this.element.clientWidth, h = this.element.clientHeight;
    if (!w || !h) return;
    const whole = Math.min((w - 30) / this.root.w, (h - 60) / this.root.h);
    // What would be too small to be read begins at the top in readable size.
    this.scale = Math.min(Math.max(whole, Math.min(0.75, (w - 20) / this.root.w), 0.3), 1.15);
    this.x = (w - this.root.w * this.scale) / 2;
    this.y = whole >= this.scale ? (h - this.root.h * this.scale) / 2 + 10 : 34;
    const first = this.root.children[0];
    if (first && this.root.w * this.scale > w) this.x = Math.min(Math.max(w / 2 - (first.x + first.w / 2) * this.scale, first.w - this.root.w * this.scale), w - first.w);
    this.touched = false;
    this.redraw();
  }
  overview() {
    const w = this.element.clientWidth, h = this.element.clientHeight;
    this.scale = Math.max(Math.min((w - 30) / this.root.w, (h - 50) / this.root.h, 1.2), this.least);
    this.x = (w - this.root.w * this.scale) / 2; this.y = Math.max((h - this.root.h * this.scale) / 2, 30);
    this.touched = true;
    this.redraw();
  }
  show(b) {
    const w = this.element.clientWidth, h = this.element.clientHeight;
    const left = b.x * this.scale + this.x, top = b.y * this.scale + this.y;
    const wide = left > 8 && left + b.w * this.scale < w - 8, high = top > 40 && top + b.h * this.scale < h - 8;
    if (wide && high) return this.redraw();
    const small = this.scale < 0.5;
    if (small) this.scale = 0.8;
    if (!wide || small) this.x = w / 2 - (b.x + b.w / 2) * this.scale;
    if (!high || small) this.y = Math.min(h / 2 - (b.y + b.h / 2) * this.scale, 60 - b.y * this.scale + h / 4);
    this.touched = true;
    this.redraw();
  }
  visible(b) { const v = this.window; return b.x < v.right && b.x + b.w > v.left && b.y < v.bottom && b.y + b.h > v.top; }
  draw(g) {
    if (!this.root) return;
    this.drawn = 0;
    this.marks = marked(this);
    this.drawBoxes(g, this.root, 0);
    this.drawLines(g, this.root);
    this.drawNodes(g, this.root);
  }
  drawBoxes(g, b, depth) {
    for (const c of b.children) {
      if (!c.box || c.shut || !this.visible(c)) continue;
      g.beginPath(); g.roundRect(c.x, c.y, c.w, c.h, 9);
      g.fillStyle = depth % 2 ? colour.box2 : colour.box; g.fill();
      const on = selected.is(this, c);
      g.strokeStyle = on ? colour.accent : colour.boxline; g.lineWidth = on ? 2.5 : 1; g.stroke();
      this.drawBoxes(g, c, depth + 1);
    }
  }
  drawTitles(g, b) {
    g.font = titleFont;
    for (const c of b.children) {
      if (!c.box || c.shut || !this.visible(c)) continue;
      g.fillStyle = colour.soft;
      g.fillText((c.box.c > 1 && c.copy < 0 ? "▾ " : "▾ ") + boxTitle(c), c.x + 12, c.y + 17);
      this.drawTitles(g, c);
    }
  }
  drawLines(g, b) {
    const v = this.window, far = this.scale < 0.12;
    const dash = k => k === "residual" || k === "head";
    for (const l of b.lines) {
      if (l.bottom < v.top || l.top > v.bottom) continue;
      const strong = this.marks.line(l);
      g.strokeStyle = strong ? colour.accent : lineOf(l.e.kind);
      g.fillStyle = g.strokeStyle;
      g.lineWidth = strong ? 2.6 : far ? 1 / this.scale * 0.6 : 1.35;
      g.beginPath();
      if (l.cut) {
        g.setLineDash([4, 3]);
        g.moveTo(l.sx, l.sy); g.lineTo(l.sx, l.sy + 10); g.moveTo(l.tx, l.ty - 10); g.lineTo(l.tx, l.ty);
        g.stroke(); g.setLineDash([]);
        continue;
      }
      g.setLineDash(dash(l.e.kind) ? [5, 3] : []);
      const p = l.points;
      g.moveTo(p[0][0], p[0][1]);
      for (let i = 1; i < p.length; i++) {
        const [ax, ay] = p[i - 1], [bx, by] = p[i], mid = (ay + by) / 2;
        if (i % 2 === 1 || ax === bx) g.lineTo(bx, by); else g.bezierCurveTo(ax, mid, bx, mid, bx, by);
      }
      g.stroke();
      g.setLineDash([]);
      if (this.scale < 0.25) continue;
      const tipAt = (x, y, d) => { g.beginPath(); g.moveTo(x, y); g.lineTo(x - 3.5, y - 7 * d); g.lineTo(x + 3.5, y - 7 * d); g.fill(); };
      if (!l.e.reversed && l.into) tipAt(l.tx, l.ty, 1);
      if (l.e.reversed && l.outof) tipAt(l.sx, l.sy, -1);
    }
    for (const c of b.children) if (c.box && !c.shut && this.visible(c)) this.drawLines(g, c);
  }
  drawLabels(g, b) {
    const v = this.window;
    g.font = labelFont;
    for (const l of b.lines) {
      if (!l.label || !l.into || l.cut || l.ty < v.top || l.ty - 30 > v.bottom) continue;
      const text = fitText(labelFont, l.label, l.space);
      if (text.length < 3) continue;
      const w = textWidth(labelFont, text), x = l.left ? l.tx - 5 - w : l.tx + 5;
      g.globalAlpha = 0.85; g.fillStyle = b.box ? colour.box2 : colour.bg; g.fillRect(x - 2, l.ty - 20, w + 4, 13); g.globalAlpha = 1;
      g.fillStyle = lineOf(l.e.kind);
      g.fillText(text, x, l.ty - 10);
    }
    for (const c of b.children) if (c.box && !c.shut && this.visible(c)) this.drawLabels(g, c);
  }
  drawNodes(g, root) {
    const text = this.scale >= 0.25, walk = b => {
      for (const c of b.children) {
        if (!this.visible(c)) continue;
        if (c.box && !c.shut) { walk(c); continue; }
        this.drawn++;
        this.drawNode(g, c, text);
      }
    };
    if (text) this.drawLabels(g, root);
    walk(root);
    if (text) this.drawTitles(g, root);
  }
  drawNode(g, c, text) {
    const n = c.shut ? null : this.scene.nodes[c.node], kind = n ? n.kind : "layer";
    const on = selected.is(this, c), strong = this.marks.block(c);
    if (!text) {
      g.fillStyle = on || strong ? colour.accent : lineOf(kind);
      g.fillRect(c.x, c.y, c.w, c.h);
      return;
    }
    g.beginPath(); g.roundRect(c.x, c.y, c.w, c.h, 6);
    g.fillStyle = fillOf(kind); g.fill();
    g.strokeStyle = on || strong ? colour.accent : lineOf(kind);
    g.lineWidth = on ? 3 : strong ? 2.4 : 1;
    if (n && n.dashed) g.setLineDash([5, 3]);
    g.stroke(); g.setLineDash([]);
    if (c.shut) { // a pile
      g.font = titleFont; g.fillStyle = colour.text;
      g.fillText(fitText(titleFont, "▸ " + c.box.t, c.w - 16), c.x + 10, c.y + 17);
      g.font = lineFont; g.fillStyle = colour.soft;
      g.fillText(c.box.p * c.box.c + " inside", c.x + 10, c.y + 32);
      return;
    }
    g.font = titleFont; g.fillStyle = colour.text;
    g.fillText(fitText(titleFont, this.nodeTitle(c), c.w - 16), c.x + 10, c.y + 16.5);
    g.font = lineFont; g.fillStyle = colour.soft;
    n.lines.forEach((l, i) => g.fillText(fitText(lineFont, l, c.w - 16), c.x + 10, c.y + 31 + 14 * i));
  }
  // under finds the innermost block at a place.
  under(x, y) {
    let b = this.root, found = null;
    for (;;) {
      const c = b.children.find(c => x >= c.x && x <= c.x + c.w && y >= c.y && y <= c.y + c.h);
      if (!c) return found;
      found = c;
      if (!c.box || c.shut) return c;
      b = c;
    }
  }
  lineUnder(x, y, b = this.root) {
    const near = 5 / this.scale;
    for (const c of b.children) if (c.box && !c.shut) { const l = this.lineUnder(x, y, c); if (l) return l; }
    for (const l of b.lines) {
      if (l.cut || y < l.top - near || y > l.bottom + near) continue;
      for (let i = 1; i < l.points.length; i++) {
        const [ax, ay] = l.points[i - 1], [bx, by] = l.points[i];
        if (y < ay - near || y > by + near || by === ay) continue;
        const t = Math.min(Math.max((y - ay) / (by - ay), 0), 1), s = t * t * (3 - 2 * t);
        if (Math.abs(ax + (bx - ax) * s - x) < near) return l;
      }
    }
    return null;
  }
  hover(x, y, e) {
    const b = this.under(x, y);
    if (b && (!b.box || b.shut)) {
      const n = b.shut ? null : this.scene.nodes[b.node];
      return tip(e, b.shut ? b.box.t : [n.title, n.name, ...n.lines].filter(Boolean).join("\n"));
    }
    const l = this.lineUnder(x, y);
    tip(l ? e : null, l ? lineText(this, l) : "");
  }
  click(x, y) {
    const b = this.under(x, y);
    if (b && b.box && !b.shut && y < b.y + 24 && x < b.x + 24) return this.cycle(b);
    const l = b && (!b.box || b.shut) ? null : this.lineUnder(x, y);
    if (l && l.e.params.length) return select({ type: "param", index: l.e.params[0] });
    if (!b || b.box && !b.shut && y > b.y + 24) return select(null);
    select(b.box ? { type: "box", pane: this, key: b.key, box: b.box } : { type: "node", pane: this, index: b.node });
  }
  double(x, y) { const b = this.under(x, y); if (b && b.box) this.cycle(b); }
  // cycle goes from one copy to a closed box and back.
  cycle(b) { this.set(b.key, b.shut ? (b.box.c > 1 ? "fold" : "open") : "shut"); }
  set(key, state) { this.states.set(key, state); this.touched = true; this.arrange(); changed(this); }
  all(state) { this.states.clear(); this.standard = state === "open" ? "open" : null; this.touched = false; this.arrange(); changed(this); }
}

function lineText(pane, l) {
  const title = i => pane.scene.nodes[i].title;
  const seen = l.all.slice(0, 4).map(e => e.reversed ? title(e.to) + " → " + title(e.from) : title(e.from) + " → " + title(e.to));
  if (l.all.length > 4) seen.push("and " + (l.all.length - 4) + " more");
  const names = l.all.flatMap(e => e.params).slice(0, 4).map(p => data.params[p].name);
  return [...new Set(seen), l.e.label, ...names].filter(Boolean).join("\n");
}

// MatrixPane shows the adjacency matrix of the NiNo graph: rows are sources,
// columns targets.
class MatrixPane extends Pane {
  constructor(stage) { super(stage, "Adjacency matrix of the NiNo graph"); this.root = null; this.least = 1e-4; this.most = 60; }
  arrange() { this.fit(); this.redraw(); }
  fit() {
    const n = Math.max(data.adjacency.nodes, 1), w = this.element.clientWidth, h = this.element.clientHeight;
    if (!w || !h) return;
    this.scale = Math.min((w - 140) / n, (h - 110) / n);
    this.x = 110 + Math.max((w - 140 - n * this.scale) / 2, 0); this.y = 80;
    this.touched = false;
    this.redraw();
  }
  draw(g) {
    const n = data.adjacency.nodes, v = this.window, px = 1 / this.scale;
    g.fillStyle = colour.panel; g.fillRect(0, 0, n, n);
    g.lineWidth = px;
    g.strokeStyle = colour.line;
    g.beginPath();
    const layers = data.adjacency.layers;
    for (const l of layers) {
      if (l.size * this.scale < 6) continue;
      g.moveTo(0, l.first); g.lineTo(n, l.first); g.moveTo(l.first, 0); g.lineTo(l.first, n);
    }
    g.stroke();
    g.strokeStyle = colour.boxline; g.strokeRect(0, 0, n, n);
    const chosen = selected.param();
    for (const b of data.adjacency.blocks) {
      const on = chosen >= 0 && b.param === chosen;
      g.fillStyle = on ? colour.accent : lineOf(b.kind);
      this.block(g, b, v, px);
    }
    g.strokeStyle = lineOf("self-loop"); g.lineWidth = Math.max(px * 0.7, 0.5);
    g.beginPath(); g.moveTo(0, 0); g.lineTo(n, n); g.stroke();
    this.labels(g, layers, v, px);
  }
  block(g, b, v, px) {
    const s = data.adjacency.spans[b.source], t = data.adjacency.spans[b.target];
    if (b.diagonal) {
      const size = Math.max(1, px * 1.4);
      let i = 0, j = 0, io = 0, jo = 0;
      while (i < s.length && j < t.length) {
        const n = Math.min(s[i + 1] - io, t[j + 1] - jo), y = s[i] + io, x = t[j] + jo;
        g.strokeStyle = g.fillStyle; g.lineWidth = size;
        if (n === 1) g.fillRect(x, y, size, size);
        else { g.beginPath(); g.moveTo(x, y); g.lineTo(x + n, y + n); g.stroke(); }
        io += n; jo += n;
        if (io >= s[i + 1]) { i += 2; io = 0; }
        if (jo >= t[j + 1]) { j += 2; jo = 0; }
      }
      return;
    }
    for (let i = 0; i < s.length; i += 2) {
      if (s[i] > v.bottom || s[i] + s[i + 1] < v.top) continue;
      for (let j = 0; j < t.length; j += 2) {
        if (t[j] > v.right || t[j] + t[j + 1] < v.left) continue;
        g.fillRect(t[j], s[i], Math.max(t[j + 1], px * 1.2), Math.max(s[i + 1], px * 1.2));
      }
    }
  }
  labels(g, layers, v, px) {
    const d = window.devicePixelRatio || 1, h = this.element.clientHeight, w = this.element.clientWidth;
    g.setTransform(d, 0, 0, d, 0, 0);
    g.font = labelFont;
    const left = Math.max(this.x, 104), from = Math.max(this.x, 0);
    let last = -1e9, lastX = -1e9;
    for (const l of layers) {
      const y = (l.first + l.size / 2) * this.scale + this.y, x = (l.first + l.size / 2) * this.scale + this.x;
      if (l.size * this.scale >= 2 && y > 78 && y < h && y - last > 11) {
        const text = fitText(labelFont, l.name, 96);
        g.fillStyle = colour.bg; g.globalAlpha = 0.8; g.fillRect(left - 102, y - 6, 100, 12); g.globalAlpha = 1;
        g.fillStyle = colour.soft; g.textAlign = "right"; g.fillText(text, left - 6, y + 3.5); g.textAlign = "left";
        last = y;
      }
      if (l.size * this.scale >= 2 && x > from && x < w && x - lastX > 80) {
        g.fillStyle = colour.soft; g.textAlign = "center";
        g.fillText(fitText(labelFont, l.name, 78), x, Math.max(this.y - 6, 70)); g.textAlign = "left";
        lastX = x;
      }
    }
  }
  find(x, y) {
    const inside = (list, k) => { for (let i = 0; i < list.length; i += 2) if (k >= list[i] && k < list[i] + list[i + 1]) return true; return false; };
    const near = 3 / this.scale;
    for (let i = data.adjacency.blocks.length - 1; i >= 0; i--) {
      const b = data.adjacency.blocks[i], s = data.adjacency.spans[b.source], t = data.adjacency.spans[b.target];
      if (b.diagonal) { if (inside(s, y) && inside(t, x) && Math.abs((y - s[0]) - (x - t[0])) < near) return b; continue; }
      if (inside(s, y) && inside(t, x)) return b;
    }
    return null;
  }
  hover(x, y, e) {
    const b = this.find(x, y);
    const layer = k => (data.adjacency.layers.find(l => k >= l.first && k < l.first + l.size) || { name: "" }).name;
    tip(b ? e : null, b ? [b.kind, b.param >= 0 ? data.params[b.param].name : "", layer(y) + " → " + layer(x)].filter(Boolean).join("\n") : "");
  }
  click(x, y) { const b = this.find(x, y); select(b && b.param >= 0 ? { type: "param", index: b.param } : null); }
  show() { this.redraw(); }
  overview() { this.fit(); }
}
