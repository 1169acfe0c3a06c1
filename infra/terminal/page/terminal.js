// The page's side of docs/terminal.md: binary frames are bytes of the terminal, text frames are control
// messages. The ticket comes in the fragment, which no server and no log ever sees, or is pasted.
"use strict";

const terminal = new Terminal({ cursorBlink: true, fontSize: 14, theme: { background: "#14171c" } });
const fit = new FitAddon.FitAddon();
const encoder = new TextEncoder();
const element = (id) => document.getElementById(id);
const HIGH = 1 << 20; // bytes that xterm.js has not drawn yet: beyond it the relay is asked to wait
const LOW = 1 << 18;
let socket = null;

terminal.loadAddon(fit);
terminal.open(element("terminal"));
fit.fit();
new ResizeObserver(() => fit.fit()).observe(element("terminal"));
terminal.onResize(sendSize);
terminal.onData((text) => sendBytes(encoder.encode(text)));
terminal.onBinary((text) => sendBytes(Uint8Array.from(text, (char) => char.charCodeAt(0))));
element("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  connect(element("url").value.trim());
});
window.addEventListener("hashchange", start);
start();

function start() {
  const url = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
  if (url) connect(url);
  else element("ask").hidden = socket !== null;
}

// Whatever host the URL names, the ticket is redeemed at this page's own relay: no other is allowed to it.
function connect(given) {
  const address = new URL("webterminal/" + encodeURIComponent(given.split("/").pop()), location.href);
  const page = address.href;
  address.protocol = address.protocol.replace("http", "ws");
  if (socket) socket.close();
  const opened = (socket = new WebSocket(address, "trainyard.terminal.v1"));
  let told = null;
  let waiting = 0;
  let paused = false;
  opened.binaryType = "arraybuffer";
  element("ask").hidden = true;
  show("connecting…", "");
  opened.onmessage = (message) => {
    if (typeof message.data !== "string") return draw(new Uint8Array(message.data));
    const control = JSON.parse(message.data);
    if (control.type === "ready") ready(control);
    if (control.type === "closed") told = control.message;
  };
  function draw(bytes) {
    waiting += bytes.length;
    if (!paused && waiting > HIGH) flow("pause");
    terminal.write(bytes, () => {
      waiting -= bytes.length;
      if (paused && waiting < LOW) flow("resume");
    });
  }
  function flow(type) {
    paused = type === "pause";
    if (opened.readyState === WebSocket.OPEN) opened.send(JSON.stringify({ type }));
  }
  opened.onclose = async (event) => {
    if (opened !== socket) return;
    show(told || (event.code === 1006 && (await refusal(page))) || `closed (${event.code})`, "closed");
    socket = null;
    element("ask").hidden = false;
  };
}

function ready(control) {
  element("pod").textContent = control.podName;
  document.title = `${control.podName} · Trainyard`;
  show("connected", "open");
  terminal.reset();
  fit.fit();
  sendSize(terminal);
  terminal.focus();
}

// A browser does not tell a page why a WebSocket was refused; a plain GET of the same address says it.
async function refusal(page) {
  try {
    const answer = await fetch(page, { headers: { "Accept-Language": navigator.language } });
    return (await answer.json()).message || "the connection was lost";
  } catch {
    return "the terminal service does not answer";
  }
}

function sendBytes(bytes) {
  for (let start = 0; start < bytes.length; start += 16384) {
    if (socket?.readyState === WebSocket.OPEN) socket.send(bytes.subarray(start, start + 16384));
  }
}

function sendSize({ cols, rows }) {
  if (socket?.readyState !== WebSocket.OPEN) return;
  socket.send(JSON.stringify({ type: "resize", columns: cols, rows }));
}

function show(text, state) {
  element("state").textContent = text;
  element("state").className = state;
}
