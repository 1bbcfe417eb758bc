"use strict";
// What the scripts of all pages share. They place and format the numbers that a page holds and compute none: sums, rates and percentiles
// were made when the page was.
const servebench = (() => {
const $ = id => document.getElementById(id);
const data = JSON.parse($("data").textContent);

const bytes = text => Uint8Array.from(atob(text || ""), c => c.charCodeAt(0));
const f32 = text => new Float32Array(bytes(text).buffer);
const f64 = text => new Float64Array(bytes(text).buffer);
const i32 = text => new Int32Array(bytes(text).buffer);
// What was not measured is NaN in an array, and null where uPlot is to leave a gap.
const gappy = values => Array.from(values, v => Number.isNaN(v) ? null : v);

const color = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const show = (v, unit = " ms") => {
  if (v == null || Number.isNaN(v)) return "–";
  const a = Math.abs(v);
  return v.toFixed(a >= 10000 ? 0 : a >= 1000 ? 1 : a >= 1 || a === 0 ? 2 : 3) + unit;
};
const tick = v => v == null ? "" : String(+v.toPrecision(6));

function element(tag, parent, text) {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  parent?.append(e);
  return e;
}

// ---- uPlot charts

const plots = []; // {host, make, plot, watch}

function plot(host, make) {
  const entry = {host, make, plot: make(host.clientWidth)};
  entry.watch = new ResizeObserver(() => {
    if (host.clientWidth && Math.abs(host.clientWidth - entry.plot.width) > 1) entry.plot.setSize({width: host.clientWidth, height: entry.plot.height});
  });
  entry.watch.observe(host);
  plots.push(entry);
  return entry;
}

function unplot(entry) {
  entry.watch.disconnect();
  entry.plot.destroy();
  plots.splice(plots.indexOf(entry), 1);
}

function remake(entry) {
  const {min, max} = entry.plot.scales.x;
  entry.plot.destroy();
  entry.plot = entry.make(entry.host.clientWidth);
  if (entry.timed) entry.plot.setScale("x", {min, max});
}

const axis = (more = {}) => ({
  stroke: () => color("muted"), font: "11px system-ui, sans-serif", grid: {stroke: () => color("line"), width: 1},
  ticks: {show: false}, gap: 6, values: (u, splits) => splits.map(tick), ...more,
});

// On a scale of ratios ticks stand at round numbers: one, two and five of each power of ten as long as there is room.
function ratioSplits(low, high) {
  const decades = Math.log10(high / low), digits = decades > 3.2 ? [1] : decades > 1.6 ? [1, 3] : decades > .5 ? [1, 2, 5] : [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8];
  const list = [];
  for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) {
    for (const d of digits) if (d * power >= low && d * power <= high) list.push(+(d * power).toPrecision(3));
  }
  return list;
}

// series of the page are named by the colour that the style sheet gives them.
const line = (label, hue, more = {}) => ({label, stroke: () => color(hue), width: 1.6, points: {show: false}, ...more});

function choose(host, act) {
  const buttons = [...host.querySelectorAll("button")];
  for (const b of buttons) b.addEventListener("click", () => {
    buttons.forEach(o => o.setAttribute("aria-pressed", o === b));
    act(b);
  });
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach(e => e.plot.redraw(false)));

return {$, data, bytes, f32, f64, i32, gappy, color, show, tick, element, plots, plot, unplot, remake, axis, ratioSplits, line, choose};
})();
