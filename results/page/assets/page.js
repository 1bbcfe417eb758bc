"use strict";
(() => {
const {$, data, bytes, f32, f64, i32, gappy, color, show, tick, element, plots, plot, unplot, remake, axis, ratioSplits, line, choose} = servebench;
const seconds = v => v == null ? "–" : v.toFixed(data.length < 10 ? 3 : data.length < 1000 ? 2 : 1) + " s";

// ---- one range of time for all charts of time

const whole = {from: 0, to: data.length};
let range = {...whole};
const timed = [];    // plots
const painters = []; // canvases

function setTime(from, to) {
  from = Math.max(from, whole.from); to = Math.min(to, whole.to);
  if (!(to - from > 1e-6)) return;
  range = {from, to};
  for (const e of timed) e.plot.setScale("x", {min: from, max: to});
  const zoomed = from > whole.from || to < whole.to;
  document.querySelectorAll(".reset").forEach(b => { b.hidden = !zoomed; });
  document.documentElement.dataset.zoomed = zoomed;
  painters.forEach(p => p.timeMoved?.());
  paint();
}
const resetTime = () => setTime(whole.from, whole.to);
document.querySelectorAll(".reset").forEach(b => b.addEventListener("click", resetTime));

let pending = 0;
function paint() {
  if (!pending) pending = requestAnimationFrame(() => { pending = 0; painters.forEach(p => p.paint()); });
}

// marks draws the profiler's bracket behind a chart and stages across it. x places a time.
function marks(ctx, x, top, height, scale, labels) {
  ctx.save();
  ctx.font = 11 * scale + "px system-ui, sans-serif";
  ctx.textBaseline = "top";
  for (const m of data.marks) {
    if (m.kind === "profile") {
      ctx.fillStyle = color("band");
      if (!m.whole) ctx.fillRect(x(m.from), top, x(m.to) - x(m.from), height);
    } else {
      ctx.strokeStyle = color("faint");
      ctx.lineWidth = scale;
      ctx.setLineDash([3 * scale, 3 * scale]);
      ctx.beginPath(); ctx.moveTo(x(m.from), top); ctx.lineTo(x(m.from), top + height); ctx.stroke();
    }
    // A stretch that began before what is shown is named at its edge.
    if (labels && m.from < range.to && (m.from >= range.from || m.to > range.from)) {
      ctx.fillStyle = color("muted");
      ctx.fillText(m.label, Math.max(x(m.from), x(range.from)) + 4 * scale, top + (m.kind === "profile" ? 16 : 2) * scale);
    }
  }
  ctx.restore();
}

function timePlot(host, title, series, columns, more = {}) {
  const box = element("div", host); box.className = "chart";
  if (title) element("h3", box, title);
  const inner = element("div", box);
  const entry = plot(inner, width => new uPlot({
    width, height: more.height || 170,
    padding: [8, 22, 0, 0],
    scales: {x: {time: false, range: () => [range.from, range.to]}, y: more.y?.() || {range: (u, lo, hi) => [0, hi > 0 ? hi * 1.08 : 1]}},
    axes: [axis({size: 24, values: (u, splits) => splits.map(v => tick(v) + " s")}), axis({
      size: 56, values: (u, splits) => splits.map(v => tick(v) + (more.unit || "")),
      ...(more.y?.().distr === 3 ? {splits: (u, i, low, high) => ratioSplits(low, high), filter: (u, splits) => splits} : {}),
    })],
    series: [{label: "at", value: (u, v) => seconds(v)}, ...series],
    cursor: {
      drag: {x: true, y: false, setScale: false}, y: false,
      sync: {key: "time", filters: {pub: type => type !== "mousedown" && type !== "mouseup"}},
      dataIdx: more.stepped ? (u, i, near, at) => near > 0 && u.data[0][near] > at ? near - 1 : near : undefined,
      bind: {dblclick: () => () => { resetTime(); return null; }},
    },
    hooks: {
      drawClear: [u => {
        u.ctx.save(); u.ctx.beginPath(); u.ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height); u.ctx.clip();
        marks(u.ctx, v => u.valToPos(v, "x", true), u.bbox.top, u.bbox.height, devicePixelRatio, more.labels);
        u.ctx.restore();
      }],
      setSelect: [u => {
        const {left, width} = u.select;
        if (width > 3) setTime(u.posToVal(left, "x"), u.posToVal(left + width, "x"));
        u.setSelect({left: 0, top: 0, width: 0, height: 0}, false);
      }],
    },
  }, columns, inner));
  entry.timed = true;
  timed.push(entry);
  return entry;
}

// ---- distributions

const cdfs = data.cdfs.map(c => ({...c, values: f32(c.values), shares: f32(c.shares), nines: f32(c.nines)}));
let tail = false;

for (const c of cdfs) {
  const box = element("div", $("cdfs")); box.className = "chart"; box.dataset.metric = c.name;
  element("h3", box, c.label);
  const inner = element("div", box);
  const high = c.values[c.values.length - 1];
  const positive = c.values.findIndex(v => v > 0.001), wide = positive >= 0 && high / c.values[positive] > 10;
  if (wide) for (const k of ["values", "shares", "nines"]) c[k] = c[k].slice(positive); // what is (nearly) zero has no place on a scale of ratios
  const low = c.values[0];
  // Equal values: a step up, which needs room to be seen.
  const from = wide ? low * 0.93 : Math.max(0, low - (high - low || low || 1) * 0.04), to = wide ? high * 1.07 : high + (high - low || high || 1) * 0.04;
  plot(inner, width => new uPlot({
    width, height: 210, padding: [8, 26, 0, 0],
    scales: {
      x: {time: false, distr: wide ? 3 : 1, range: (u, lo, hi) => lo == null || lo <= low && hi >= high ? [from, to] : [lo, hi]},
      y: {range: () => tail ? [0, c.nines[c.nines.length - 1] * 1.04] : [0, 100]},
    },
    axes: [
      axis({
        size: 24, space: 58, values: (u, splits) => splits.map(v => tick(v) + " ms"),
        ...(wide ? {splits: (u, i, low, high) => ratioSplits(low, high), filter: (u, splits) => splits} : {}),
      }),
      axis({
        size: 56, splits: () => tail ? [0, 1, 2, 3, 4, 5].filter(v => v <= c.nines[c.nines.length - 1] * 1.04) : [0, 25, 50, 75, 100],
        values: (u, splits) => splits.map(v => tail ? ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"][v] : v + " %"),
      }),
    ],
    series: [{label: "at or below", value: (u, v) => show(v)}, line("share", "accent", {
      value: (u, v, s, i) => i == null ? "–" : +c.shares[i].toPrecision(7) + " %",
      fill: () => tail ? undefined : color("band"), width: 1.8,
    })],
    cursor: {drag: {x: true, y: false}, y: false},
  }, [c.values, tail ? c.nines : c.shares], inner)).cdf = true;
}
if (!cdfs.length) $("latency").hidden = true;

choose($("scale"), b => {
  tail = b.dataset.scale === "tail";
  plots.filter(e => e.cdf).forEach(remake);
});

// ---- load and percentiles over time

{
  const l = data.load, edges = f32(l.edges);
  // A step holds to the next edge; the last value is repeated at the end of the run.
  const step = text => { const v = f32(text); return [...v, v[v.length - 1]]; };
  const stepped = uPlot.paths.stepped({align: 1});
  const rate = (u, v) => v == null ? "–" : show(v, " /s"), number = (u, v) => v == null ? "–" : v.toFixed(2);
  const requests = [line("due", "three", {paths: stepped, value: rate, dash: [4, 3]}), line("done", "one", {paths: stepped, value: rate})];
  const columns = [edges, step(l.due), step(l.done)];
  if (l.failed) { requests.push(line("failed", "fail", {paths: stepped, value: rate})); columns.push(step(l.failed)); }
  const options = {stepped: true, height: 150};
  timePlot($("load"), "Requests per second", requests, columns, {...options, labels: true});
  if (l.tokens) timePlot($("load"), "Output tokens per second", [line("tokens", "one", {paths: stepped, value: rate})], [edges, step(l.tokens)], options);
  const flying = [line("in flight", "one", {paths: stepped, value: number})], numbers = [edges, step(l.inFlight)];
  if (l.queued) { flying.push(line("waiting in the client", "two", {paths: stepped, value: number})); numbers.push(step(l.queued)); }
  timePlot($("load"), "Requests in flight, mean", flying, numbers, options);

  const w = data.windows, bounds = f32(w.edges);
  const middles = Array.from({length: bounds.length - 1}, (_, i) => (bounds[i] + bounds[i + 1]) / 2);
  let ratios = false;
  const charts = [];
  for (const m of w.metrics || []) {
    const lines = [gappy(f32(m.p50)), gappy(f32(m.p90)), gappy(f32(m.p99))];
    const known = lines.flat().filter(v => v > 0), low = Math.min(...known) * .9, high = Math.max(...known) * 1.1;
    const dot = {points: {show: middles.length <= 40, size: 4}, value: (u, v) => show(v)};
    charts.push(timePlot($("percentiles"), m.label, [line("p50", "p50", dot), line("p90", "p90", dot), line("p99", "p99", dot)],
      [middles, ...lines], {height: 180, unit: " ms", y: () => ratios && known.length ? {distr: 3, range: () => [low, high]} : {range: (u, lo, hi) => [0, hi > 0 ? hi * 1.08 : 1]}}));
  }
  choose($("ratios"), b => { ratios = b.dataset.scale === "log"; charts.forEach(remake); });
}

// ---- canvases

// pane is a canvas with a frame for axes; draw gets its context in CSS pixels.
function pane(canvas, height, margin, draw, extra = {}) {
  const p = {
    canvas, margin, width: 0, height: 0,
    x: t => margin.left + (t - range.from) / (range.to - range.from) * (p.width - margin.left - margin.right),
    time: x => range.from + (x - margin.left) / (p.width - margin.left - margin.right) * (range.to - range.from),
    paint() {
      p.width = canvas.clientWidth; p.height = height();
      if (!p.width) return;
      const scale = devicePixelRatio || 1;
      canvas.style.height = p.height + "px";
      canvas.width = Math.round(p.width * scale); canvas.height = Math.round(p.height * scale);
      const ctx = canvas.getContext("2d");
      ctx.scale(scale, scale);
      ctx.font = "11px system-ui, sans-serif";
      draw(ctx, p);
      if (p.box) {
        ctx.fillStyle = color("band"); ctx.strokeStyle = color("muted");
        ctx.fillRect(...p.box); ctx.strokeRect(...p.box);
      }
    }, ...extra,
  };
  painters.push(p);
  new ResizeObserver(paint).observe(canvas);
  return p;
}

function timeAxis(ctx, p, {from, to} = range, x = p.x) {
  const y = p.height - p.margin.bottom;
  ctx.fillStyle = color("muted"); ctx.textAlign = "center"; ctx.textBaseline = "top";
  const rough = (to - from) / Math.max(2, (p.width - p.margin.left) / 90), power = 10 ** Math.floor(Math.log10(rough));
  const by = [1, 2, 5, 10].map(m => m * power).find(v => v >= rough);
  for (let i = Math.ceil(from / by); i * by <= to; i++) {
    const text = tick(i * by) + " s", half = ctx.measureText(text).width / 2;
    ctx.fillText(text, Math.min(Math.max(x(i * by), half), p.width - half), y + 6);
  }
}

// drag calls boxed with two corners after a drag, clicked after a click, and hover while the pointer moves.
function drag(p, {boxed, clicked, hover, leave, tall}) {
  const c = p.canvas;
  let from = null;
  const at = e => { const r = c.getBoundingClientRect(); return [e.clientX - r.left, e.clientY - r.top]; };
  c.addEventListener("pointerdown", e => {
    if (e.button || e.pointerType === "touch") return;
    from = at(e); c.setPointerCapture(e.pointerId);
  });
  c.addEventListener("pointermove", e => {
    const [x, y] = at(e);
    if (from && Math.abs(x - from[0]) > 4) {
      const top = tall ? p.margin.top : Math.min(y, from[1]), height = tall ? p.height - p.margin.top - p.margin.bottom : Math.abs(y - from[1]);
      p.box = [Math.min(x, from[0]), top, Math.abs(x - from[0]), height];
      paint();
    }
    hover(x, y);
  });
  c.addEventListener("pointerup", e => {
    const to = at(e), begun = from;
    from = null;
    const box = p.box; p.box = null;
    if (box) boxed(begun, to);
    else if (e.pointerType !== "touch") clicked?.(...to);
    paint();
  });
  c.addEventListener("click", e => { if (e.pointerType === "touch") { hover(...at(e)); clicked?.(...at(e)); } });
  c.addEventListener("pointerleave", () => { if (!from) leave(); });
  c.addEventListener("pointercancel", () => { from = null; p.box = null; paint(); });
}

// ---- gaps by time and length

if (data.heat) {
  const h = data.heat, edges = f32(h.edges), bounds = f32(h.bounds), cells = i32(h.cells), stalled = f32(h.stalled);
  const worst = h.worst ? f32(h.worst) : [];
  const columns = edges.length - 1, rows = bounds.length - 1;
  const rgb = name => { const n = parseInt(color(name).slice(1), 16); return [n >> 16, n >> 8 & 255, n & 255]; };
  let image = null, theme = "";
  const picture = () => {
    if (image && theme === color("heat0")) return image;
    theme = color("heat0");
    image = document.createElement("canvas");
    image.width = columns; image.height = rows;
    const ctx = image.getContext("2d"), pixels = ctx.createImageData(columns, rows), stops = ["heat0", "heat1", "heat2", "heat3"].map(rgb);
    cells.forEach((n, i) => {
      const row = rows - 1 - Math.floor(i / columns), at = (row * columns + i % columns) * 4;
      // One gap is already seen: a lone stall matters more than a thousand usual gaps.
      const v = n ? 0.2 + 0.8 * Math.log(n) / Math.log(Math.max(h.most, 2)) : 0, s = Math.min(Math.floor(v * 3), 2), t = v * 3 - s;
      for (let k = 0; k < 3; k++) pixels.data[at + k] = stops[s][k] + (stops[s + 1][k] - stops[s][k]) * t;
      pixels.data[at + 3] = 255;
    });
    ctx.putImageData(pixels, 0, 0);
    return image;
  };
  const strip = 16, margin = {left: 56, right: 8, top: 6, bottom: 24};
  const says = $("heat-says");
  const column = t => { let i = 0; while (i < columns - 1 && edges[i + 1] <= t) i++; return i; };
  const p = pane($("heat"), () => innerWidth < 700 ? 250 : 320, margin, (ctx, p) => {
    const left = margin.left, width = p.width - left - margin.right, height = p.height - margin.top - margin.bottom - strip - 8;
    p.map = height;
    ctx.save();
    ctx.beginPath(); ctx.rect(left, 0, width, p.height); ctx.clip();
    ctx.imageSmoothingEnabled = false;
    const a = column(range.from), b = column(range.to);
    for (let i = a; i <= b; i++) {
      const x = Math.floor(p.x(edges[i])), next = Math.max(Math.floor(p.x(edges[i + 1])), x + 1);
      ctx.drawImage(picture(), i, 0, 1, rows, x, margin.top, next - x, height);
      ctx.fillStyle = color("wash"); ctx.fillRect(x, margin.top + height + 8, next - x, strip);
      if (stalled[i] > 0) {
        const tall = strip * stalled[i] / 100;
        ctx.fillStyle = color("fail"); ctx.fillRect(x, margin.top + height + 8 + strip - tall, next - x, tall);
      }
    }
    marks(ctx, p.x, margin.top, height, 1, false);
    ctx.fillStyle = color("fail");
    for (const at of worst) { // a wedge at the upper edge
      const x = p.x(at), y = margin.top;
      ctx.beginPath(); ctx.moveTo(x - 5, y); ctx.lineTo(x + 5, y); ctx.lineTo(x, y + 8); ctx.fill();
    }
    ctx.restore();
    ctx.fillStyle = color("muted"); ctx.strokeStyle = color("line"); ctx.textAlign = "right"; ctx.textBaseline = "middle";
    const spanned = Math.log(bounds[rows] / bounds[0]);
    for (const digit of spanned > 5 ? [1] : spanned > 2.5 ? [1, 3] : [1, 2, 3, 5, 7]) {
      for (let power = .0001; power < 1e6; power *= 10) {
        const at = Math.log(digit * power / bounds[0]) / spanned, y = margin.top + height * (1 - at);
        if (at < 0 || at > 1) continue;
        ctx.fillText(tick(digit * power) + " ms", left - 6, Math.min(Math.max(y, 8), margin.top + height - 4));
        ctx.globalAlpha = .55; ctx.beginPath(); ctx.moveTo(left, y); ctx.lineTo(p.width - margin.right, y); ctx.stroke(); ctx.globalAlpha = 1;
      }
    }
    ctx.fillText("waiting", left - 6, margin.top + height + 8 + strip / 2);
    timeAxis(ctx, p);
  });
  drag(p, {
    tall: true,
    boxed: (a, b) => setTime(p.time(Math.min(a[0], b[0])), p.time(Math.max(a[0], b[0]))),
    hover: (x, y) => {
      const t = p.time(x);
      if (t < range.from || t > range.to) return;
      const c = column(t), r = Math.floor((1 - (y - margin.top) / p.map) * rows);
      let text = seconds(edges[c]) + " to " + seconds(edges[c + 1]);
      if (r >= 0 && r < rows) text += `: ${cells[r * columns + c]} gaps of ${show(bounds[r], "")} to ${show(bounds[r + 1])}`;
      says.textContent = text + `; at most ${stalled[c].toFixed(0)} % of streams waiting`;
    },
    leave: () => { says.textContent = "\u00a0"; },
  });
  p.canvas.addEventListener("dblclick", resetTime);
}

// ---- requests one by one

{
  const r = data.rows;
  const id = i32(r.id), start = f64(r.start), wait = f32(r.wait), ttft = f32(r.ttft), tpot = f32(r.tpot), e2el = f32(r.e2el), longest = f32(r.gap);
  const input = i32(r.input), output = i32(r.output), failed = i32(r.failed), stage = r.stage ? i32(r.stage) : null;
  const n = id.length, followed = new Map();
  {
    const list = i32(r.followed), counts = i32(r.counts), packed = bytes(r.gaps);
    let at = 0;
    list.forEach((row, k) => {
      const gaps = new Float64Array(counts[k]);
      for (let i = 0; i < gaps.length; i++) {
        let v = 0, m = 1, b;
        do { b = packed[at++]; v += (b & 127) * m; m *= 128; } while (b & 128);
        gaps[i] = v / 1000; // microseconds to milliseconds
      }
      followed.set(row, gaps);
    });
  }
  const endAt = i => start[i] + (Number.isNaN(e2el[i]) ? 0 : e2el[i] / 1000);
  let view = {from: 0, to: n}, chosen = -1, keep = false;
  let aligned = false; // all requests from one start, instead of by the clock
  const margin = {left: 56, right: 8, top: 4, bottom: 24}, says = $("waterfall-says");

  const p = pane($("waterfall"), () => innerWidth < 700 ? 380 : 460, margin, (ctx, p) => {
    const height = p.height - margin.top - margin.bottom, rows = view.to - view.from, tall = height / rows;
    const hues = {wait: color("wait"), first: color("first"), decode: color("decode"), fail: color("fail"), token: color("heat3"), ink: color("ink")};
    ctx.fillStyle = color("wash"); ctx.globalAlpha = .5; ctx.fillRect(margin.left, margin.top, p.width - margin.left - margin.right, height); ctx.globalAlpha = 1;
    ctx.save();
    ctx.beginPath(); ctx.rect(margin.left, margin.top, p.width - margin.left - margin.right, height); ctx.clip();
    const first = Math.max(0, Math.floor(view.from)), last = Math.min(n, Math.ceil(view.to));
    const dueAt = i => Number.isNaN(wait[i]) ? start[i] : start[i] - wait[i] / 1000;
    let place = (i, t) => p.x(t), shown = range, across = p.x;
    if (aligned) {
      // The longest of the requests that are shown fills the width.
      shown = {from: 0, to: 1e-3};
      for (let i = first; i < last; i++) shown = {from: Math.min(shown.from, dueAt(i) - start[i]), to: Math.max(shown.to, endAt(i) - start[i])};
      across = t => margin.left + (t - shown.from) / (shown.to - shown.from) * (p.width - margin.left - margin.right);
      place = (i, t) => across(t - start[i]);
    } else marks(ctx, p.x, margin.top, height, 1, data.marks.some(m => m.kind === "stage"));
    for (let i = first; i < last; i++) {
      const end = endAt(i), due = dueAt(i);
      if (!aligned && (end < range.from || due > range.to)) continue;
      const bar = (y, h, from, to, hue, least = .7) => { const x = place(i, from), wide = place(i, to) - x; if (wide > .5 || least) { ctx.fillStyle = hue; ctx.fillRect(x, y, Math.max(wide, least), h); } };
      // Whole pixels: rows thinner than one would make stripes that nobody sent.
      const above = margin.top + (i - view.from) * tall, y = tall > 3 ? above + tall * .12 : Math.floor(above), h = tall > 3 ? tall * .76 : Math.max(Math.ceil(above + tall) - y, 1);
      if (start[i] > due) bar(y, h, due, start[i], hues.wait, 0);
      if (failed[i]) { bar(y, h, start[i], end, hues.fail); continue; }
      const token = Number.isNaN(ttft[i]) ? end : start[i] + ttft[i] / 1000;
      bar(y, h, start[i], token, hues.first, 0);
      const gaps = followed.get(i), single = tall >= 5 && gaps && gaps.length && (place(i, end) - place(i, token)) / gaps.length > 2.5;
      if (end > token) { ctx.globalAlpha = single ? .45 : 1; bar(y, h, token, end, hues.decode); ctx.globalAlpha = 1; }
      if (single) {
        let t = token;
        ctx.fillStyle = hues.token;
        ctx.fillRect(place(i, t) - .6, y, 1.2, h);
        for (const g of gaps) { t += g / 1000; ctx.fillRect(place(i, t) - .6, y, 1.2, h); }
      }
      if (i === chosen && tall > 3) { ctx.strokeStyle = hues.ink; ctx.lineWidth = 1; ctx.strokeRect(place(i, due) - 2, y - 1.5, place(i, end) - place(i, due) + 4, h + 3); }
    }
    ctx.restore();
    ctx.fillStyle = color("muted"); ctx.textAlign = "right"; ctx.textBaseline = "middle";
    const step = Math.max(1, Math.ceil(rows / Math.max(2, height / 34)));
    for (let i = Math.ceil(view.from); i < view.to && n; i += step) ctx.fillText("#" + id[i], margin.left - 6, Math.min(Math.max(margin.top + (i + .5 - view.from) * tall, 8), p.height - margin.bottom - 4));
    timeAxis(ctx, p, shown, across);
  }, {
    timeMoved() {
      if (keep) return;
      // Show the requests that were there in the time that is shown.
      let from = 0, to = n;
      while (to > 1 && start[to - 1] > range.to) to--;
      while (from < to - 1 && endAt(from) < range.from) from++;
      view = {from, to: Math.max(to, from + 1)};
    },
  });

  // Rows and time move together here; elsewhere rows follow time.
  function zoom(from, to, rowFrom, rowTo) {
    view = {from: Math.max(0, rowFrom), to: Math.min(n, Math.max(rowTo, rowFrom + 1))};
    keep = true; setTime(from, to); keep = false;
  }
  const rowAt = y => Math.floor(view.from + (y - margin.top) / (p.height - margin.top - margin.bottom) * (view.to - view.from));
  const facts = i => [
    ["input tokens", input[i] < 0 ? "–" : String(input[i])], ["output tokens", output[i] < 0 ? "–" : String(output[i])],
    ...(stage ? [["stage", String(stage[i] + 1)]] : []),
    ["waited in the client", show(wait[i])], ["to first token", show(ttft[i])], ["per output token", show(tpot[i])],
    ["longest gap", show(longest[i])], [failed[i] ? "until it failed" : "to last token", show(e2el[i])],
    ...(failed[i] ? [["failure", r.classes[failed[i] - 1]]] : []),
  ];
  function select(i) {
    chosen = i;
    const begin = start[i] - Math.max(0, wait[i] || 0) / 1000, end = Math.max(endAt(i), begin + 1e-4), pad = (end - begin) * .08;
    zoom(begin - pad, end + pad, i - 5, i + 6);
    detail(i);
  }
  let entry = null;
  function detail(i) {
    const host = $("request"), list = host.querySelector("dl"), chart = host.querySelector(".chart"), note = host.querySelector("p");
    host.hidden = false;
    host.querySelector("h3").textContent = "Request " + id[i];
    list.replaceChildren(...facts(i).map(([name, value]) => { const d = element("div"); element("dt", d, name); element("dd", d, value); return d; }));
    if (entry) { unplot(entry); entry = null; }
    chart.replaceChildren();
    const gaps = followed.get(i);
    if (!gaps || !gaps.length) {
      note.textContent = gaps ? "It has no gaps between tokens." : `The page holds the tokens of ${followed.size} requests: the slowest of each kind, and others evenly from the run. This is none of them.`;
      return;
    }
    note.textContent = "The gap before each event of the stream after the first.";
    entry = plot(chart, width => new uPlot({
      width, height: 150, padding: [8, 8, 0, 0],
      scales: {x: {time: false, range: (u, lo, hi) => [lo - .5, hi + .5]}, y: {range: (u, lo, hi) => [0, hi > 0 ? hi * 1.08 : 1]}},
      axes: [axis({size: 24, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]}), axis({size: 56, values: (u, s) => s.map(v => tick(v) + " ms")})],
      series: [{label: "event"}, line("gap", "one", {paths: uPlot.paths.bars({size: [.7, 14]}), fill: () => color("decode"), width: 0, value: (u, v) => show(v)})],
      cursor: {drag: {x: true, y: false}, y: false},
    }, [Array.from(gaps, (_, k) => k + 2), gaps], chart));
  }
  drag(p, {
    boxed: (a, b) => {
      const y0 = rowAt(Math.min(a[1], b[1])), y1 = rowAt(Math.max(a[1], b[1])) + 1;
      if (aligned) { view = {from: Math.max(0, y0), to: Math.min(n, y1)}; return; }
      // A flat drag is one of time.
      if (Math.abs(a[1] - b[1]) < 12) setTime(p.time(Math.min(a[0], b[0])), p.time(Math.max(a[0], b[0])));
      else zoom(p.time(Math.min(a[0], b[0])), p.time(Math.max(a[0], b[0])), y0, y1);
    },
    clicked: (x, y) => { const i = rowAt(y); if (i >= 0 && i < n && x > margin.left) select(i); },
    hover: (x, y) => {
      const i = rowAt(y);
      says.textContent = i < 0 || i >= n ? "\u00a0" : `request ${id[i]}: ` + facts(i).map(([k, v]) => `${k} ${v}`).join(", ");
    },
    leave: () => { says.textContent = "\u00a0"; },
  });
  const scale = by => {
    const t = (range.from + range.to) / 2, half = (range.to - range.from) / 2 * by, m = (view.from + view.to) / 2, rows = Math.max((view.to - view.from) / 2 * by, .5);
    zoom(t - half, t + half, m - rows, m + rows);
  };
  const all = () => { chosen = -1; $("request").hidden = true; zoom(whole.from, whole.to, 0, n); };
  choose($("waterfall-by"), b => { aligned = b.dataset.by === "start"; paint(); });
  const acts = {in: () => scale(.5), out: () => scale(2), all};
  $("waterfall-tools").querySelectorAll("button").forEach(b => b.addEventListener("click", () => acts[b.dataset.do]()));
  p.canvas.addEventListener("keydown", e => {
    const act = {"+": acts.in, "=": acts.in, "-": acts.out, "0": all, Escape: all}[e.key];
    if (act) { act(); e.preventDefault(); }
    const move = {ArrowDown: 1, ArrowUp: -1}[e.key];
    if (move && n) { select(Math.min(Math.max(chosen + move, 0), n - 1)); e.preventDefault(); }
  });
  for (const j of data.jumps) {
    const b = element("button", $("waterfall-jumps"), j.label);
    b.type = "button";
    b.addEventListener("click", () => select(j.row));
  }
  if (!n) $("requests").hidden = true;
}

// ---- copying, and the colours of the day

for (const b of document.querySelectorAll(".copy")) b.addEventListener("click", async () => {
  const source = $(b.dataset.of);
  try {
    await navigator.clipboard.writeText(source.textContent);
    b.textContent = "Copied";
    setTimeout(() => { b.textContent = "Copy"; }, 1500);
  } catch {
    getSelection().selectAllChildren(source); // the browser does not let a file copy: select it instead
  }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);

paint();
document.documentElement.dataset.ready = "true";
})();
