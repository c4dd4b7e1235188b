/**
 * Charts as SVG, in colours for light and dark, with every value as text.
 *
 * @module
 */

import { count } from "./report.ts";

export interface Bar {
  readonly label: string;
  readonly value: number;
  /** Drawn in the colour of our own. */
  readonly ours: boolean;
}

export interface ChartLine {
  readonly label: string;
  /** One for each position of the axis. */
  readonly values: readonly number[];
}

interface Panel {
  readonly title: string;
  readonly lines: readonly ChartLine[];
  readonly text: (value: number) => string;
}

const WIDTH = 900;
const FONT = 13;
const ROW = 30;
const COLORS = 4;
const PANEL_WIDTH = 315;
const AXIS_Y = 260;

const STYLE = `<style>
  .ground { fill: #ffffff } text { fill: #1f2328; font: ${FONT}px system-ui, sans-serif }
  .title { font-weight: 600 } .quiet { fill: #59636e } .axis { stroke: #d1d9e0 }
  .c0 { color: #0969da } .c1 { color: #bc4c00 } .c2 { color: #1a7f37 } .c3 { color: #8250df }
  .peer { color: #818b98 } .mark { fill: currentColor }
  .line { fill: none; stroke: currentColor; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } text { fill: #f0f6fc } .quiet { fill: #9198a1 } .axis { stroke: #3d444d }
    .c0 { color: #4493f8 } .c1 { color: #f0883e } .c2 { color: #3fb950 } .c3 { color: #ab7df8 }
    .peer { color: #656c76 } .mark { fill: currentColor }
  }
</style>`;

/** One horizontal bar a case, in the order given. */
export function barChart(title: string, bars: readonly Bar[]): string {
  const left = 300;
  const most = Math.max(...bars.map((bar) => bar.value));
  const rows = bars.map(({ label, value, ours }, index) => {
    const y = 50 + index * ROW;
    const length = (WIDTH - left - 90) * value / most;
    return `${text(label, { x: left - 10, y: y + 15, anchor: "end" })}
<rect class="mark ${ours ? "c0" : "peer"}" x="${left}" y="${y}" width="${
      round(length)
    }" height="20" />
${text(count(value), { x: left + length + 8, y: y + 15 })}`;
  });
  return svg(60 + bars.length * ROW, [
    text(title, { x: 20, y: 28, className: "title" }),
    ...rows,
  ], { label: title });
}

/**
 * Two panels side by side, each with its values in rows below it. The positions of the axis are evenly spaced, whatever
 * their values.
 */
export function lineChart(
  title: string,
  { xs, xLabel, panels }: {
    readonly xs: readonly string[];
    readonly xLabel: string;
    readonly panels: readonly [Panel, Panel];
  },
): string {
  const rowY = (index: number) => AXIS_Y + 50 + index * 22;
  const lines = panels[0].lines;
  const names = lines.flatMap(({ label }, index) => [
    `<rect class="mark c${index % COLORS}" x="20" y="${
      rowY(index) - 11
    }" width="12" height="12" />`,
    text(label, { x: 40, y: rowY(index) }),
  ]);
  const drawn = panels.flatMap((panel, index) =>
    drawPanel(panel, { left: 230 + index * (PANEL_WIDTH + 20), xs, rowY })
  );
  return svg(rowY(lines.length), [
    text(title, { x: 20, y: 28, className: "title" }),
    text(xLabel, { x: 20, y: AXIS_Y + 20, className: "quiet" }),
    ...names,
    ...drawn,
  ], { label: title });
}

function drawPanel(
  { title, lines, text: show }: Panel,
  { left, xs, rowY }: {
    readonly left: number;
    readonly xs: readonly string[];
    readonly rowY: (index: number) => number;
  },
): string[] {
  const most = Math.max(...lines.flatMap((line) => line.values), 0) || 1;
  const x = (at: number) => round(left + 30 + (PANEL_WIDTH - 60) * at / Math.max(xs.length - 1, 1));
  const y = (value: number) => round(AXIS_Y - (AXIS_Y - 80) * Math.max(value, 0) / most);
  const drawn = lines.flatMap(({ values }, index) => {
    const color = `c${index % COLORS}`;
    const points = values.map((value, at) => `${x(at)},${y(value)}`);
    return [
      `<polyline class="line ${color}" points="${points.join(" ")}" />`,
      ...values.flatMap((value, at) => [
        `<circle class="mark ${color}" cx="${x(at)}" cy="${y(value)}" r="3" />`,
        text(show(value), {
          x: x(at),
          y: rowY(index),
          anchor: "middle",
          className: `mark ${color}`,
        }),
      ]),
    ];
  });
  const right = left + PANEL_WIDTH;
  return [
    text(title, { x: left, y: 56, className: "quiet" }),
    `<line class="axis" x1="${left}" y1="${AXIS_Y}" x2="${right}" y2="${AXIS_Y}" />`,
    ...xs.map((label, at) =>
      text(label, { x: x(at), y: AXIS_Y + 20, anchor: "middle", className: "quiet" })
    ),
    ...drawn,
  ];
}

function svg(
  height: number,
  parts: readonly string[],
  { label }: { readonly label: string },
): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${
    escape(label)
  }">
${STYLE}
<rect class="ground" width="${WIDTH}" height="${height}" />
${parts.join("\n")}
</svg>
`;
}

function text(
  content: string,
  { x, y, anchor = "start", className }: {
    readonly x: number;
    readonly y: number;
    readonly anchor?: "start" | "middle" | "end";
    readonly className?: string;
  },
): string {
  const named = className === undefined ? "" : ` class="${className}"`;
  return `<text${named} x="${round(x)}" y="${round(y)}" text-anchor="${anchor}">${
    escape(content)
  }</text>`;
}

const round = (value: number): number => Math.round(value * 10) / 10;

function escape(value: string): string {
  return value.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
