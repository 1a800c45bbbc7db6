"use strict";
// Layout of a scene in rows, box by box: what layout.go does, for any state of
// the boxes. A box is "fold" (one copy stands for all), "open" (all copies) or
// "shut" (a node).
const Layout = (() => {
  const gapX = 24, gapY = 36, padding = 14, header = 24, lineSpace = 10, longest = 40, mostLabels = 4;

  // place makes the tree of blocks; leaf[i] shows node i, turns[i] says in which
  // copies of which boxes it is.
  function place(scene, stateOf) {
    const n = scene.nodes.length, leaf = new Array(n), turns = new Array(n);
    const root = { node: -1, children: [], parent: null };
    const add = (parent, b) => {
      b.parent = parent; b.children = []; b.lines = [];
      b.self = { child: b, role: "child", seq: parent.children.length, up: [], down: [] };
      parent.children.push(b);
    };
    const walk = (parent, items, shift, path) => {
      for (const it of items) {
        if (typeof it === "number") {
          const b = { node: it + shift };
          leaf[b.node] = b; turns[b.node] = path;
          add(parent, b);
          continue;
        }
        const first = it.f + shift, width = it.p * it.c, key = first + ":" + it.p + ":" + it.c;
        const state = stateOf(key, it);
        if (state === "shut") {
          const b = { node: -1, box: it, key, first, shut: true, copy: -1 };
          add(parent, b);
          for (let i = 0; i < width; i++) { leaf[first + i] = b; turns[first + i] = path; }
          continue;
        }
        const shown = state === "open" ? it.c : 1, folded = shown < it.c;
        for (let c = 0; c < shown; c++) {
          const b = { node: -1, box: it, key, first, copy: folded ? -1 : c };
          add(parent, b);
          walk(b, it.i, shift + c * it.p, path.concat([[it, c, folded]]));
        }
        for (let i = shown * it.p; i < width; i++) {
          const same = first + i % it.p, t = turns[same].slice();
          t[path.length] = [it, Math.floor(i / it.p), folded];
          leaf[first + i] = leaf[same]; turns[first + i] = t;
        }
      }
    };
    root.lines = [];
    walk(root, scene.items, 0, []);
    return { root, leaf, turns };
  }

  // carried: from one copy of a folded box to another.
  function carried(a, b) {
    for (let i = 0; i < Math.min(a.length, b.length); i++) {
      if (a[i][0] !== b[i][0]) return false;
      if (a[i][1] !== b[i][1]) return a[i][2];
    }
    return false;
  }

  const port = (map, key, role, seq, b) => {
    let v = map.get(key);
    if (!v) { v = { role, seq, up: [], down: [], w: 0, h: 0 }; map.set(key, v); (b.ports ||= []).push(v); }
    return v;
  };
  let nextID = 0;
  const id = v => { let k = v.id; if (k === undefined) k = v.id = nextID++; return k; };
  const leaving = (b, kind) => port(b.out ||= new Map(), kind, "out", 1 << 30, b);
  const entering = (b, from, kind) => port(b.in ||= new Map(), id(from) + " " + kind, "in", -1, b);

  function join(b, from, to, e, label) {
    const key = id(from) + " " + id(to) + " " + e.kind + " " + label;
    b.joined ||= new Map();
    const old = b.joined.get(key);
    if (old) { old.all.push(e); return; }
    const l = { from, to, e, label, all: [e], bends: [] };
    l.start = from.seq > to.seq ? to : from;
    l.end = from.seq > to.seq ? from : to;
    b.joined.set(key, l);
    b.lines.push(l);
  }

  function route(e, from, to) {
    const up = [], depth = new Map(), down = [];
    for (let p = from; p; p = p.parent) { depth.set(p, up.length); up.push(p); }
    for (let p = to; ; p = p.parent) {
      if (depth.has(p)) { up.length = depth.get(p); break; }
      down.push(p);
    }
    for (let i = 0; i + 1 < up.length; i++) join(up[i + 1], up[i].self, leaving(up[i + 1], e.kind), e, "");
    let at = up[up.length - 1].self;
    const inner = down[down.length - 1];
    join(inner.parent, at, inner.self, e, down.length === 1 ? e.label : "");
    for (let i = down.length - 1; i > 0; i--) {
      at = entering(down[i], at, e.kind);
      join(down[i], at, down[i - 1].self, e, i === 1 ? e.label : "");
    }
  }

  function widen(b, m) {
    const need = new Map();
    for (const l of b.lines) {
      let n = need.get(l.end);
      if (!n) need.set(l.end, n = { n: 0, width: 0 });
      n.n++;
      if (l.label) n.width += m.label(l.label) + 14;
    }
    for (const [v, n] of need)
      if (v.child && (!v.child.box || v.child.shut) && n.n <= mostLabels) v.w = Math.max(v.w, n.width * (3 - Math.min(n.n, 2)));
  }

  const attachOut = (v, kind) => { const p = v.child && v.child.out && v.child.out.get(kind); return p ? p.x - v.child.w / 2 : 0; };
  const attachIn = (v, from, kind) => { const p = v.child && v.child.in && v.child.in.get(id(from) + " " + kind); return p ? p.x - v.child.w / 2 : 0; };

  function connect(up, down, dx, far) {
    let weight = 1;
    if (up.role === "bend") weight *= 3;
    if (down.role === "bend") weight *= 3;
    up.down.push([down, dx, far, weight]);
    down.up.push([up, far, dx, weight]);
  }

  function rowsOf(b) {
    const first = (b.ports || []).some(p => p.role === "in") ? 1 : 0, far = 1 << 30;
    let last = 0;
    for (const c of b.children) c.self.row = first;
    for (const p of b.ports || []) p.row = 0;
    b.lines.sort((x, y) => x.start.seq - y.start.seq);
    const leads = new Set();
    for (const l of b.lines) {
      leads.add(l.end);
      if (l.end.role === "child") l.end.row = Math.max(l.end.row, l.start.row + 1);
    }
    for (const l of b.lines) if (l.start.role === "child" && !leads.has(l.start)) l.start.row = far;
    for (const l of b.lines)
      if (l.start.role === "child" && !leads.has(l.start) && l.end.role === "child") l.start.row = Math.min(l.start.row, l.end.row - 1);
    for (const c of b.children) {
      if (c.self.row === far) c.self.row = first;
      last = Math.max(last, c.self.row);
    }
    for (const p of b.ports || []) if (p.role === "out") p.row = last + 1;
    const rows = Array.from({ length: last + 2 }, () => []);
    for (const p of b.ports || []) rows[p.row].push(p);
    for (const c of b.children) rows[c.self.row].push(c.self);
    const bends = new Map();
    for (const l of b.lines) {
      const s = l.start, e = l.end;
      l.cut = e.row - s.row > longest || e.row <= s.row;
      if (l.cut) continue;
      let at = s, out = attachOut(s, l.e.kind);
      for (let r = s.row + 1; r < e.row; r++) {
        const key = id(s) + " " + l.e.kind + " " + r;
        let v = bends.get(key);
        if (!v) {
          v = { role: "bend", row: r, w: lineSpace, h: 0, seq: s.seq, up: [], down: [] };
          bends.set(key, v);
          rows[r].push(v);
          connect(at, v, out, 0);
        }
        at = v; out = 0;
        l.bends.push(v);
      }
      connect(at, e, out, attachIn(e, s, l.e.kind));
    }
    while (rows.length && !rows[rows.length - 1].length) rows.pop();
    return rows;
  }

  function order(rows, rounds) {
    const number = r => r.forEach((v, i) => { v.x = i; });
    for (const r of rows) { r.sort((a, b) => a.seq - b.seq); number(r); }
    const sweep = (r, side) => {
      if (r.length < 2) return;
      for (const v of r) {
        const list = v[side];
        v.want = v.x;
        if (list.length) {
          let sum = 0;
          for (const l of list) sum += l[0].x + l[2] * 1e-4;
          v.want = sum / list.length;
        }
      }
      r.sort((a, b) => a.want - b.want);
      number(r);
    };
    for (let k = 0; k < rounds; k++) {
      for (let i = 1; i < rows.length; i++) sweep(rows[i], "up");
      for (let i = rows.length - 2; i >= 0; i--) sweep(rows[i], "down");
    }
    for (let i = 1; i < rows.length; i++) sweep(rows[i], "up");
  }

  function spread(row, sides) {
    const pools = [];
    let offset = 0;
    const offsets = [];
    for (let i = 0; i < row.length; i++) {
      const v = row[i];
      if (i) offset += (row[i - 1].w + v.w) / 2 + gapX;
      offsets.push(offset);
      let want = 0, weight = 0;
      for (const side of sides) for (const l of v[side]) { want += l[3] * (l[0].x + l[2] - l[1]); weight += l[3]; }
      if (!weight) { weight = 0.01; want = v.x * weight; }
      let p = [want - offset * weight, weight, 1];
      while (pools.length && pools[pools.length - 1][0] / pools[pools.length - 1][1] > p[0] / p[1]) {
        const q = pools.pop();
        p = [p[0] + q[0], p[1] + q[1], p[2] + q[2]];
      }
      pools.push(p);
    }
    let i = 0;
    for (const p of pools) for (let k = 0; k < p[2]; k++, i++) row[i].x = p[0] / p[1] + offsets[i];
  }

  function align(rows, rounds) {
    for (const r of rows) {
      let x = 0;
      for (const v of r) { v.x = x + v.w / 2; x += v.w + gapX; }
      for (const v of r) v.x -= (x - gapX) / 2;
    }
    for (let i = 0; i < rounds; i++) {
      const late = i >= rounds / 2;
      for (let k = 1; k < rows.length; k++) spread(rows[k], late ? ["up", "down"] : ["up"]);
      for (let k = rows.length - 2; k >= 0; k--) spread(rows[k], late ? ["up", "down"] : ["down"]);
    }
  }

  // straighten puts chains on vertical lines where there is room (layout.go).
  function straighten(rows) {
    const done = new Set();
    for (const r of rows) r.forEach((v, i) => { v.at = i; });
    for (const r of rows) for (let v of r) {
      if (done.has(v)) continue;
      let part = [], low = -Infinity, high = Infinity, sum = 0, offset = 0;
      const set = () => {
        if (part.length < 2) return;
        const x = Math.min(Math.max(sum / part.length, low), high);
        for (const [w, o] of part) w.x = x + o;
      };
      for (;;) {
        done.add(v);
        const row = rows[v.row], a = row[v.at - 1], b = row[v.at + 1];
        const lo = a ? a.x + (a.w + v.w) / 2 + gapX - offset : -Infinity, hi = b ? b.x - (b.w + v.w) / 2 - gapX - offset : Infinity;
        if (Math.max(lo, low) > Math.min(hi, high)) { set(); part = []; low = -Infinity; high = Infinity; sum = 0; }
        low = Math.max(lo, low); high = Math.min(hi, high); sum += v.x - offset; part.push([v, offset]);
        const next = v.down[0];
        if (v.down.length !== 1 || next[0].up.length !== 1 || done.has(next[0])) break;
        offset += next[1] - next[2];
        v = next[0];
      }
      set();
    }
  }

  function heights(rows, framed) {
    let y = padding + (framed ? header : 0);
    for (let i = 0; i < rows.length; i++) {
      const r = rows[i];
      if (i === 0 && r.some(v => v.role === "in")) {
        for (const v of r) { v.y = 0; v.h = 0; }
        y += 6;
        continue;
      }
      let h = 0;
      for (const v of r) h = Math.max(h, v.h);
      if (r.length && r[0].role === "out") {
        y += padding - gapY;
        for (const v of r) v.y = y;
        return y;
      }
      for (const v of r) {
        v.y = y;
        if (v.role === "bend") v.h = h; else v.y += (h - v.h) / 2;
      }
      y += h + gapY;
    }
    return y - gapY + padding;
  }

  function compose(b, m) {
    for (const c of b.children) {
      if (c.box && !c.shut) compose(c, m); else [c.w, c.h] = m.size(c);
      c.self.w = c.w; c.self.h = c.h;
    }
    widen(b, m);
    const rows = rowsOf(b);
    let n = 0;
    for (const r of rows) n += r.length;
    order(rows, n > 8000 ? 1 : 4);
    align(rows, Math.min(Math.max(Math.floor(40000 / Math.max(n, 1)), 2), 60));
    straighten(rows);
    let left = Infinity, right = -Infinity;
    for (const r of rows) for (const v of r) { left = Math.min(left, v.x - v.w / 2); right = Math.max(right, v.x + v.w / 2); }
    if (left > right) left = right = 0;
    b.w = right - left + 2 * padding;
    const title = b.box ? m.title(b) + 2 * padding : 0;
    if (title > b.w) { left -= (title - b.w) / 2; b.w = title; }
    b.h = heights(rows, !!b.box);
    for (const r of rows) for (const v of r) {
      v.x += padding - left;
      if (v.child) { v.child.x = v.x - v.child.w / 2; v.child.y = v.y; }
    }
  }

  function settle(b, x, y) {
    b.x += x; b.y += y;
    for (const c of b.children) settle(c, b.x, b.y);
  }

  // points of a line, in absolute coordinates, and where its label stands.
  function trace(b) {
    const into = new Map();
    for (const l of b.lines) if (!l.cut) { if (!into.has(l.end)) into.set(l.end, []); into.get(l.end).push(l); }
    for (const [v, list] of into) {
      const from = l => l.bends.length ? l.bends[l.bends.length - 1].x : l.start.x;
      list.sort((x, y) => from(x) - from(y));
      list.forEach((l, i) => {
        const k = list.length;
        l.tx = b.x + v.x + attachIn(v, l.start, l.e.kind);
        l.space = 0;
        if (v.child && (!v.child.box || v.child.shut)) {
          const step = v.child.w / (k + 1);
          l.tx = b.x + v.x - v.child.w / 2 + step * (i + 1);
          l.left = i === 0 && k > 1;
          l.space = i === 0 || i === k - 1 ? step + (v.w - v.child.w) / 2 + gapX / 2 : step - 8;
        }
      });
    }
    for (const l of b.lines) {
      const s = l.start, e = l.end;
      l.sx = b.x + s.x + attachOut(s, l.e.kind); l.sy = b.y + s.y + s.h;
      l.ty = b.y + e.y;
      if (l.cut) l.tx = b.x + e.x;
      l.into = e.role === "child" && (!e.child.box || e.child.shut);
      l.outof = s.role === "child" && (!s.child.box || s.child.shut);
      const p = [[l.sx, l.sy], [l.sx, l.sy]];
      for (const v of l.bends) p.push([b.x + v.x, b.y + v.y], [b.x + v.x, b.y + v.y + v.h]);
      p.push([l.tx, l.ty], [l.tx, l.ty]);
      l.points = p;
      l.top = Math.min(l.sy, l.ty); l.bottom = Math.max(l.sy, l.ty);
    }
    for (const c of b.children) if (c.box && !c.shut) trace(c);
  }

  return function (scene, stateOf, measure) {
    const { root, leaf, turns } = place(scene, stateOf);
    for (const e of scene.edges) {
      const from = leaf[e.from], to = leaf[e.to];
      if (from !== to && !carried(turns[e.from], turns[e.to])) route(e, from, to);
    }
    compose(root, measure);
    root.x = root.y = 0;
    settle(root, 0, 0);
    trace(root);
    return { root, leaf };
  };
})();
