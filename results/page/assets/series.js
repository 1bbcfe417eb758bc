"use strict";
(() => {
const {$, data, f64, i32, show, tick, element, plots, plot, unplot, axis, line, color, choose} = servebench;
const hues = ["one", "two", "good", "fail", "three", "p99"];

// chart draws one curve; what says how a value of its y axis is written.
function chart(c, title, what) {
  const box = element("div", $("charts")); box.className = "chart";
  element("h3", box, title);
  const place = element("div", box);
  const lines = c.lines.map((l, i) => ({
    name: l.name, hue: hues[i % hues.length], x: f64(l.x), y: f64(l.y), points: i32(l.points), front: i32(l.front), knee: i32(l.knee), fails: l.fails ? f64(l.fails) : null,
  }));
  const top = Math.max(...lines.flatMap(l => l.fails ? Array.from(l.fails).filter(v => !isNaN(v)) : []));
  // The lines share an x axis, where each has its own points.
  const joined = uPlot.join(lines.map(l => {
    const x = [], y = [];
    l.x.forEach((v, i) => { if (x.length && x[x.length - 1] === v) y[y.length - 1] = l.y[i]; else { x.push(v); y.push(l.y[i]); } });
    return [x, y];
  }));
  const dots = u => {
    const scale = devicePixelRatio, ctx = u.ctx;
    ctx.save();
    ctx.font = 11 * scale + "px system-ui, sans-serif"; ctx.textBaseline = "bottom"; ctx.textAlign = "left"; ctx.lineWidth = 1.6 * scale;
    for (const l of lines) l.x.forEach((v, i) => {
      const x = u.valToPos(v, "x", true), y = u.valToPos(l.y[i], "y", true);
      ctx.strokeStyle = color(l.hue); ctx.fillStyle = l.front[i] ? color(l.hue) : color("card");
      if (l.fails && !isNaN(l.fails[i])) {
        const end = u.valToPos(l.fails[i], "y", true), half = 5 * scale;
        ctx.beginPath(); ctx.moveTo(x, y); ctx.lineTo(x, end); ctx.moveTo(x - half, end); ctx.lineTo(x + half, end); ctx.stroke();
      }
      ctx.beginPath(); ctx.arc(x, y, 4 * scale, 0, 7); ctx.fill(); ctx.stroke();
      if (l.knee[i]) { ctx.beginPath(); ctx.arc(x, y, 8 * scale, 0, 7); ctx.stroke(); }
      ctx.fillStyle = color("muted"); ctx.fillText(String(l.points[i]), x + 7 * scale, y - 4 * scale);
    });
    ctx.restore();
  };
  plot(place, width => new uPlot({
    width, height: 260, padding: [16, 26, 0, 0],
    scales: {x: {time: false, range: (u, lo, hi) => [0, hi > 0 ? hi * 1.06 : 1]}, y: {range: (u, lo, hi) => [0, Math.max(hi, top) > 0 ? Math.max(hi, top) * 1.08 : 1]}},
    axes: [axis({size: 22, gap: 4, label: c.x, labelSize: 16, labelGap: 0, labelFont: "11px system-ui, sans-serif", space: 70}), axis({size: 60, values: (u, s) => s.map(what.tick)})],
    series: [{label: c.x, value: (u, v) => v == null ? "–" : tick(+v.toFixed(2))}, ...lines.map(l => line(l.name || what.name, l.hue, {spanGaps: true, value: (u, v) => what.show(v)}))],
    hooks: {draw: [dots]},
    cursor: {drag: {x: false, y: false}, y: false},
  }, joined, place));
}

function draw(statistic) {
  while (plots.length) unplot(plots[0]);
  $("charts").replaceChildren();
  for (const c of data.curves.filter(c => c.statistic === statistic)) {
    chart(c, c.label + " " + c.statistic, {name: "latency", tick: v => tick(v) + " ms", show});
  }
}

if (data.capacity) {
  chart(data.capacity, data.capacity.label, {name: data.capacity.label, tick, show: v => v == null ? "–" : tick(v)});
} else if ($("charts")) {
  draw("p99");
  choose($("statistic"), b => draw(b.dataset.statistic));
}
document.documentElement.dataset.ready = "true";
})();
