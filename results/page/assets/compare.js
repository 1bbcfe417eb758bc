"use strict";
(() => {
const {data, f32, gappy, show, tick, element, plot, axis, ratioSplits, line, color} = servebench;

for (const host of document.querySelectorAll(".pairs")) {
  const c = data.comparisons[host.dataset.comparison];
  for (const curve of c.curves) {
    const p = f32(curve.p), base = f32(curve.baseline), other = f32(curve.candidate), unit = " " + curve.unit;
    const chart = title => {
      const box = element("div", host); box.className = "chart";
      element("h3", box, title);
      return element("div", box);
    };

    // Two curves over one axis of latencies: each has its own points.
    const low = Math.min(base[0], other[0]), high = Math.max(base[base.length - 1], other[other.length - 1]);
    const ratios = low > 0 && high / low > 10;
    const joined = uPlot.join([[base, p], [other, p]].map(([values, shares]) => distinct(values, shares)));
    const place = chart(curve.label);
    plot(place, width => new uPlot({
      width, height: 210, padding: [8, 26, 0, 0],
      scales: {x: {time: false, distr: ratios ? 3 : 1, range: (u, lo, hi) => lo <= low && hi >= high || lo == null ? [ratios ? low * .93 : Math.max(0, low - (high - low || low || 1) * .04), ratios ? high * 1.07 : high + (high - low || high || 1) * .04] : [lo, hi]}, y: {range: () => [0, 100]}},
      axes: [
        axis({size: 24, space: 58, values: (u, s) => s.map(v => tick(v) + unit), ...(ratios ? {splits: (u, i, a, b) => ratioSplits(a, b), filter: (u, s) => s} : {})}),
        axis({size: 56, splits: () => [0, 25, 50, 75, 100], values: (u, s) => s.map(v => v + " %")}),
      ],
      series: [{label: "at or below", value: (u, v) => show(v, unit)},
        line(c.baseline, "three", {spanGaps: true, width: 1.8, value: (u, v) => v == null ? "–" : tick(v) + " %"}),
        line(c.candidate, "accent", {spanGaps: true, width: 1.8, value: (u, v) => v == null ? "–" : tick(v) + " %"})],
      cursor: {drag: {x: true, y: false}, y: false},
    }, joined, place));

    const shift = gappy(f32(curve.shift)), from = gappy(f32(curve.low)), to = gappy(f32(curve.high));
    const percent = (u, v) => v == null ? "–" : (v > 0 ? "+" : "") + v.toFixed(2) + " %";
    const beside = chart(curve.label + ", change by percentile");
    plot(beside, width => new uPlot({
      width, height: 210, padding: [8, 26, 0, 0],
      scales: {x: {time: false, range: () => [0, 100]}, y: {range: (u, lo, hi) => lo == null ? [-1, 1] : [Math.min(lo * 1.1, -1), Math.max(hi * 1.1, 1)]}},
      axes: [axis({size: 24, splits: () => [0, 25, 50, 75, 90, 100], filter: (u, s) => s, values: (u, s) => s.map(v => "p" + v)}), axis({size: 56, values: (u, s) => s.map(v => tick(v) + " %")})],
      series: [{label: "percentile", value: (u, v) => v == null ? "–" : "p" + tick(v)}, line("change", "accent", {width: 1.8, value: percent}),
        line("from", "p50", {width: 1, value: percent}), line("to", "p50", {width: 1, value: percent})],
      bands: [{series: [3, 2], fill: () => color("band")}],
      hooks: {draw: [u => {
        const y = u.valToPos(0, "y", true);
        u.ctx.save(); u.ctx.strokeStyle = color("faint"); u.ctx.lineWidth = devicePixelRatio;
        u.ctx.beginPath(); u.ctx.moveTo(u.bbox.left, y); u.ctx.lineTo(u.bbox.left + u.bbox.width, y); u.ctx.stroke(); u.ctx.restore();
      }]},
      cursor: {drag: {x: false, y: false}, y: false},
    }, [p, shift, from, to], beside));
  }
}

// distinct keeps, of equal values, the one with the largest share: an axis of values takes each once.
function distinct(values, shares) {
  const x = [], y = [];
  values.forEach((v, i) => {
    if (x.length && x[x.length - 1] === v) y[y.length - 1] = shares[i];
    else { x.push(v); y.push(shares[i]); }
  });
  return [x, y];
}

document.documentElement.dataset.ready = "true";
})();
