package plot

// Colors is the number of colours that Style names --run0, --run1 …
const Colors = 6

// Style colours pictures in light and dark surroundings.
const Style = `
:root { color-scheme: light dark; --surface: #ffffff; --ink: #1c1c1a; --muted: #5f5e58; --grid: #e4e3dd;
  --run0: #2a78d6; --run1: #d9541e; --run2: #15936a; --run3: #6a56c8; --run4: #b0700a; --run5: #c2418c; }
@media (prefers-color-scheme: dark) {
  :root { --surface: #161615; --ink: #f2f1ec; --muted: #aeada5; --grid: #34332f;
    --run0: #5b9ff0; --run1: #f0794a; --run2: #35bd8e; --run3: #a295f2; --run4: #e0a03c; --run5: #ee7db8; } }
.chart text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: var(--muted); }
.chart .name { fill: var(--ink); font-weight: 600; }
.chart .grid { stroke: var(--grid); stroke-width: 1; }
.chart .axis { stroke: var(--muted); stroke-width: 1; }
.chart .goal { stroke: var(--muted); stroke-width: 1; stroke-dasharray: 6 4; }
.chart .curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
.chart .one-of-many { stroke-width: 1.5; opacity: .8; }
.chart .dashed { stroke-dasharray: 7 3; }
.chart .cast { stroke-width: 1; stroke-dasharray: 2 3; opacity: .75; }
.chart .undone { opacity: .35; }
.chart .leap { stroke-width: 1.5; opacity: 1; }
.chart .kept-mark { stroke: none; }
.chart .undone-mark { fill: var(--surface); }
.chart .reached { stroke: var(--surface); stroke-width: 2; }
`
