// Sends events to the server and shows the report or the reasons why there is none.
// Text from the server only ever goes through textContent. What shows reports is in report.js and chart.js.
"use strict";

const SAMPLE = [
  ["c8e3-ace6-4852-a32f", "video_25", 1617393003],
  ["af77-79b6-4fe6-8645", "video_25", 1617400203],
  ["75c3-2a09-4ac6-a38a", "video_25", 1617385803],
  ["a6dc-030b-4fb5-891d", "video_50", 1617400203],
  ["9919-b79c-4897-b3e4", "video_completed", 1617400203],
  ["d008-a738-45f3-a3fb", "video_start", 1617385803],
].map(([id, event, timestamp]) => JSON.stringify({ id, event, timestamp })).join("\n");

const wholePercent = new Intl.NumberFormat("en", { style: "percent" });
const still = matchMedia("(prefers-reduced-motion: reduce)");
const server = JSON.parse(document.querySelector("meta[name=server]").content); // its limit, and how it makes reports
const mebibytes = (bytes) => (bytes < 1e5 ? `${integer.format(bytes)} bytes` : `${Number((bytes / 2 ** 20).toFixed(1))} MiB`);
let running = null; // the request under way
let sent = null; // what "Send again" sends
let token = "";

// ---- Sending

async function send(name, body) {
  running?.abort();
  const request = (running = new XMLHttpRequest());
  sent = { name, body };
  showRunning(true);
  showProgress(`Sending ${name} …`, 0);
  try {
    const encoding = encodingOf(new Uint8Array(await body.slice(0, 4).arrayBuffer()));
    if (running !== request) return;
    if (body.size > server.limit) return void finish(() => showProblem(tooLarge(body.size)));
    request.open("POST", `./${query()}`);
    request.responseType = "blob";
    if (encoding) request.setRequestHeader("Content-Encoding", encoding);
    if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
  } catch (error) {
    if (running === request) finish(() => showProblem(refusedBefore(error)));
    return;
  }
  request.upload.onprogress = ({ loaded, total }) =>
    showProgress(`Sending ${name} …`, loaded / total, `${wholePercent.format(loaded / total)} of ${mebibytes(total)}`);
  request.upload.onload = () => showProgress("Making the report …");
  request.onerror = () => finish(() => showProblem(WORDS.network));
  request.onload = async () => {
    const text = await request.response.text();
    if (running === request) finish(() => showAnswer(request, text));
  };
  request.send(body);
}

function showAnswer(request, text) {
  if (request.status === 200 && text.startsWith("hour,")) showAnswered(request, text);
  else showProblem(explain(request, text));
}

// Parquet and bzip2 the server tells by itself.
function encodingOf([first, second, third, fourth]) {
  if (first === 0x1f && second === 0x8b) return "gzip";
  return first === 0x28 && second === 0xb5 && third === 0x2f && fourth === 0xfd ? "zstd" : "";
}

// What differs from how the server makes reports anyway.
function query() {
  const zone = find("time-zone").value.trim();
  const factor = find("factor").value.trim();
  const asked = new URLSearchParams();
  if (zone && zone !== server.zone) asked.set(/^[+-]\d/.test(zone) ? "utc_offset" : "time_zone", zone);
  if (factor && factor !== server.factor) asked.set("impressions_factor", factor);
  if (find("skip").checked !== server.skip) asked.set("rejects", find("skip").checked ? "skip" : "refuse");
  if (find("once").checked !== server.deduplicate) asked.set("deduplicate", find("once").checked);
  return asked.size ? `?${asked}` : "";
}

function showOptions() {
  find("time-zone").value = server.zone;
  find("factor").value = server.factor;
  find("skip").checked = server.skip;
  find("once").checked = server.deduplicate;
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const zones = new Set([server.zone, own, "+01:00", "UTC", ...(Intl.supportedValuesOf?.("timeZone") ?? [])]);
  find("zones").replaceChildren(...[...zones].map((value) => element("option", { value })));
}

function sendFiles(files) {
  if (files.length > 1) say("One file at a time, please.");
  else if (files.length) send(files[0].name, files[0]);
}

function sendText() {
  const text = find("text").value;
  if (text.trim()) return void send("the pasted text", new Blob([text]));
  say("Paste some events first, or choose a file.");
  find("text").focus();
}

function finish(show) {
  running = null;
  showRunning(false);
  show();
}

function cancel() {
  running?.abort();
  finish(() => say("Cancelled."));
}

function showRunning(on) {
  const focused = [find("make"), find("cancel")].includes(document.activeElement);
  document.body.classList.toggle("running", on);
  find("apply").disabled = on || !sent;
  find("make").hidden = on;
  find("cancel").hidden = !on;
  if (focused) find(on ? "cancel" : "make").focus();
}

function showProgress(phase, share, words) {
  say(phase, words);
  if (share === undefined) find("progress").removeAttribute("value");
  else find("progress").value = share;
}

// Only the first part is announced: a screen reader need not read every percent.
function say(phase, share = "") {
  if (find("status").textContent !== phase) find("status").textContent = phase;
  find("share").textContent = share;
}

// ---- What went wrong

const WORDS = {
  400: ["Some records are not events", "A report is made only when every record is an event. Correct these and send it once more, or leave out invalid records."],
  401: ["This server asks for a token", "Enter the token that you were given. It is kept until you leave this page."],
  413: ["This is too large", "Send it in smaller parts. The limit also holds for what a .gz file unpacks to."],
  415: ["The server does not read this compression", "Send the events as they are, or compressed with gzip."],
  503: ["The server is busy", "All its places are taken."],
  failed: ["The server failed", "This is not about what you sent. Try it again later."],
  network: [
    "The connection failed",
    "The server could not be reached, or hung up while the events were on their way. It may be down, and some servers hang up on what is too large.",
  ],
};

function explain(request, text) {
  const { status } = request;
  let problem = {};
  try {
    problem = JSON.parse(text) ?? {};
  } catch {} // a proxy's own page, say: then the status has to do
  let [title, advice] = WORDS[status] ?? (status >= 500 ? WORDS.failed : [`The server answered with status ${status}`, ""]);
  if (status === 401 && token) title = "The server does not accept this token";
  if (status === 400 && !problem.rejects) [title, advice] = ["This could not be read", ""];
  if (!problem.rejects && /\b(time zone|UTC offset|factor|parameter)\b/.test(problem.detail)) title = "This option does not work";
  const wait = request.getResponseHeader("Retry-After");
  if (status === 503) advice += ` Try again in ${/^\d+$/.test(wait) ? `${wait} s` : "a moment"}.`;
  return [title, advice, problem, status];
}

const tooLarge = (size) => [...WORDS[413], { detail: `It has ${mebibytes(size)}; the limit of this server is ${mebibytes(server.limit)}.` }, 413];

function refusedBefore(error) {
  return error.name === "NotReadableError" || error.name === "NotFoundError"
    ? ["This file could not be read", "It may be a folder, or have been moved or changed since it was chosen."]
    : ["This token cannot be sent", "It holds characters that no token has. Enter it once more.", {}, 401];
}

function showProblem([title, advice, problem = {}, status]) {
  const rejects = Array.isArray(problem.rejects) ? problem.rejects : [];
  find("report").hidden = true;
  say("");
  find("problem-title").textContent = title;
  find("problem-advice").textContent = advice;
  find("problem-detail").textContent = problem.detail ?? "";
  showRejects(rejects);
  const left = problem.rejected - rejects.length;
  find("more-rejects").textContent = left > 0 ? `And ${integer.format(left)} more.` : "";
  find("token-field").hidden = status !== 401;
  find("again").hidden = status >= 400 && status < 500 && status !== 401; // the same again would fail again
  find("problem").hidden = false;
  reveal("problem", status === 401 ? "token" : "problem-title");
}

// Line, index and byte are columns where at least one record has them.
function showRejects(rejects) {
  const places = [["Line", "line"], ["Index", "index"], ["Byte", "offset"]].filter(([, key]) => rejects.some((reject) => reject[key] != null));
  const head = (name) => element("th", { scope: "col" }, name);
  const row = (reject) => {
    const numbers = places.map(([, key]) => element("td", {}, reject[key] == null ? "–" : integer.format(reject[key])));
    return element("tr", {}, ...numbers, element("td", { class: "reason" }, reject.reason), element("td", { class: "raw" }, ...marked(reject)));
  };
  find("rejects-head").replaceChildren(...[...places.map(([name]) => name), "Reason", "Record"].map(head));
  find("rejects").replaceChildren(...rejects.map(row));
  find("rejects-box").hidden = !rejects.length;
}

// The record's text with what the reason is about marked: a place, a quoted name or value, or the member that it names.
function marked({ reason, raw }) {
  if (typeof raw !== "string") return ["–"];
  const [start, end] = faulty(reason, raw);
  return [raw.slice(0, start), element("mark", {}, raw.slice(start, end)), raw.slice(end)];
}

function faulty(reason, raw) {
  const whole = [0, raw.length];
  const place = /at character (\d+)/.exec(reason);
  if (place) return +place[1] < raw.length ? [+place[1], +place[1] + 1] : whole;
  const quoted = /(['"])(.+)\1/.exec(reason)?.[2];
  if (quoted && raw.includes(quoted)) return [raw.lastIndexOf(quoted), raw.lastIndexOf(quoted) + quoted.length];
  const name = /\b(id|event|timestamp)\b/.exec(reason)?.[1];
  const member = new RegExp(`"${name}"\\s*:\\s*("(?:[^"\\\\]|\\\\.)*"|[^\\s,}\\]]+)`).exec(raw);
  return member ? [member.index, member.index + member[0].length] : whole;
}

// ---- The report

function showAnswered(request, text) {
  let summary = {};
  try {
    summary = JSON.parse(request.getResponseHeader("X-Report-Summary")) ?? {};
  } catch {} // the report does without
  find("problem").hidden = true;
  showReport(text, sent.name, summary);
  say(report.rows.length ? "The report is ready." : "The report is ready: it has no events.");
  reveal("summary", "report-title");
}

function reveal(section, focused) {
  find(focused).focus({ preventScroll: true });
  find(section).scrollIntoView({ behavior: still.matches ? "auto" : "smooth", block: section === "summary" ? "start" : "nearest" });
}

// ---- Wiring

find("file").onchange = ({ target }) => {
  sendFiles(target.files);
  target.value = ""; // so that the same file can be chosen again after a correction
};
find("make").onclick = sendText;
find("cancel").onclick = cancel;
find("sample").onclick = () => {
  if (!find("text").value.trim()) find("text").value = SAMPLE;
  send("the sample", new Blob([SAMPLE]));
};
find("apply").onclick = () => send(sent.name, sent.body);
find("again").onsubmit = (event) => {
  event.preventDefault();
  token = find("token").value.trim();
  send(sent.name, sent.body);
};
document.onkeydown = (event) => {
  if (event.key === "Escape" && running) cancel();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target === find("text")) sendText();
};
document.ondragover = (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  find("drop").classList.add("over");
};
document.ondragleave = () => find("drop").classList.remove("over");
document.ondrop = (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  find("drop").classList.remove("over");
  sendFiles(event.dataTransfer.files);
};
showOptions();
