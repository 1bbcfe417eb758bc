"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const says = text => { document.getElementById("says").textContent = text; };
let trace = null; // fetched once, however often the button is pressed

async function fetched() {
  const reply = await fetch(data.trace);
  if (!reply.ok) throw new Error("the trace could not be read: " + reply.status + " " + reply.statusText);
  return reply.arrayBuffer();
}

document.getElementById("open").addEventListener("click", async () => {
  // The window must be opened by the click itself, or the browser takes it for a pop-up.
  const ui = window.open(data.perfetto);
  if (!ui) { says("The browser did not let the new tab open: allow pop-ups for this page."); return; }
  says("Reading the trace …");
  try {
    trace ??= fetched();
    const buffer = await trace;
    says("Waiting for the Perfetto UI …");
    await answered(ui);
    ui.postMessage({perfetto: {buffer, title: data.title, fileName: data.fileName, localOnly: true}}, data.origin);
    says("The trace is in the other tab.");
  } catch (e) {
    trace = null;
    says(e.message + ". Save the file instead, and drop it on the Perfetto UI.");
  }
});

// answered waits until the UI listens: it answers PONG to a PING.
function answered(ui) {
  return new Promise((resolve, reject) => {
    const end = () => { clearInterval(ping); clearTimeout(late); removeEventListener("message", heard); };
    const heard = e => { if (e.source === ui && e.data === "PONG") { end(); resolve(); } };
    const ping = setInterval(() => {
      if (ui.closed) { end(); reject(new Error("The tab was closed")); return; }
      ui.postMessage("PING", data.origin);
    }, 50);
    const late = setTimeout(() => { end(); reject(new Error("The Perfetto UI did not answer within a minute")); }, 60000);
    addEventListener("message", heard);
  });
}
})();
