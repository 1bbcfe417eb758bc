"""Loads traces in Chrome's trace viewer in a headless Chromium: viewer.py CHROMIUM FILE...

The viewer is trace_viewer_full.html of the Python package torch-tb-profiler. Its importer has to take every file without an error, and to
find as many slices, instants and samples of counters as there are in the text, counted here by Python's json. Exits with 1 if it does not.
"""

import http.server
import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

from count import expected, text_of, viewer_samples

FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"

# The viewer's elements need an interface that browsers no longer have. Its importer shows nothing: as much of it as registering them does.
BEFORE = """<!DOCTYPE html><script>
window.faults = [];
window.onerror = (message, source, line) => { faults.push(message + " in line " + line); };
window.CustomElements = {hasNative: false, useNative: false, ready: true, flags: {}, takeRecords() {}, upgrade() {}, upgradeAll() {}, upgradeSubtree() {}, addModule() {}};
const kinds = {}, create = document.createElement.bind(document);
document.registerElement = (name, {prototype}) => { kinds[name] = prototype; return function () { return document.createElement(name); }; };
document.createElement = (name, ...more) => {
  const element = create(name, ...more);
  if (kinds[name]) { Object.setPrototypeOf(element, kinds[name]); if (element.createdCallback) element.createdCallback(); }
  return element;
};
</script>
"""

AFTER = """<script>
(async () => {
  const answer = {};
  try {
    const text = await (await fetch("/trace")).text();
    if (typeof tr === "undefined" || !tr.Model || !tr.importer.Import) throw new Error("the viewer did not load: " + faults.join("; "));
    const model = new tr.Model();
    new tr.importer.Import(model).importTraces([text]);
    const count = {slices: model.instantEvents.length, samples: 0, arrows: model.flowEvents.length};
    for (const process of model.getAllProcesses()) {
      count.slices += process.instantEvents.length;
      for (const counter of Object.values(process.counters))
        for (const series of counter.series) count.samples += series.samples.length;
    }
    for (const thread of model.getAllThreads()) count.slices += thread.sliceGroup.slices.length + thread.asyncSliceGroup.slices.length;
    answer.count = count;
    answer.bounds = [model.bounds.min, model.bounds.max];
    answer.warnings = model.importWarnings.map(w => w.type + ": " + w.message);
  } catch (e) {
    answer.error = String(e && e.stack || e);
  }
  await fetch("/answer", {method: "POST", body: JSON.stringify(answer)});
})();
</script>
"""


def main():
    chromium, files = sys.argv[1], sys.argv[2:]
    package = importlib.util.find_spec("torch_tb_profiler").submodule_search_locations[0]
    viewer = (pathlib.Path(package) / "static" / "trace_viewer_full.html").read_text()
    # Its parts are one script; apart, one that shows something and cannot does not end the others.
    viewer = re.sub(r"'use strict';(?=tr\.|Polymer\()", "</script><script>'use strict';", viewer)
    page = (BEFORE + viewer + AFTER).encode()
    state = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = {"/": page, "/trace": state["text"]}.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8" if self.path == "/" else "application/json; charset=utf-8")
            self.end_headers()
            self.wfile.write(body or b"")

        def do_POST(self):
            state["answer"] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()
            state["done"].set()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    failed = 0
    for path in files:
        state.update(text=text_of(path), answer=None, done=threading.Event())
        events, want = expected(state["text"])
        want = {"slices": want["slices"] + want["instants"], "samples": viewer_samples(state["text"])}
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            address = f"http://127.0.0.1:{server.server_port}/"
            command = [chromium, *FLAGS.split(), "--remote-debugging-port=0", f"--user-data-dir={profile}", address]
            browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                state["done"].wait(180)
            finally:
                browser.terminate()
                browser.wait(30)
        answer = state["answer"] or {"error": "no answer within three minutes"}
        name = pathlib.Path(path).name
        got = answer.get("count", {})
        arrows = got.pop("arrows", 0)
        if "error" in answer or got != want:
            failed += 1
            print(f"FAIL {name}: {answer.get('error', '')} found {got}, the text holds {want}")
        else:
            warnings = sorted(set(answer["warnings"]))
            print(f"ok   {name}: {events} events; {got['slices']} slices and instants, {got['samples']} samples, {arrows} arrows"
                  + (f"; {len(answer['warnings'])} warnings, the first: {warnings[0]}" if warnings else ""))
    server.shutdown()
    sys.exit(failed > 0)


main()
