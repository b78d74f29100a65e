// Makes reports: compresses files, sends them to the server one at a time and adds up the responses.

const MIN_COMPRESSIBLE = 1400; // bytes; a body that fits into one packet is not worth compressing
let running = null; // the job under way: { source, use, request }
let token = "";

// Why there is no report: title, advice, the server's problem document and status.
class ReportError extends Error {
  constructor(title, advice, problem = {}, status = 0) {
    super(title);
    Object.assign(this, { title, advice, problem, status });
  }
}

// Calls use(text, name, summary) with the report, or shows the error.
async function run(source, use) {
  cancelRequest();
  const job = (running = { source, use });
  showRunning(true);
  let show;
  try {
    const { text, summary } = await makeReport(job);
    show = () => use(text, source.name, summary);
  } catch (error) {
    show = () => showProblem(error instanceof ReportError ? error : new ReportError("Unexpected error in this page", String(error)), job);
  }
  if (running === job) finish(show);
}

async function makeReport(job) {
  const { files } = job.source;
  const refused = multiFileProblem(job.source);
  if (refused) throw new ReportError("Use the command line for these files", "It reads all files together:", { detail: refused, command: commandLine() });
  const answers = [];
  for (const [index, file] of files.entries()) {
    const place = files.length > 1 ? ` (${index + 1} of ${files.length})` : "";
    answers.push(await reportOfFile(file, place, job).catch((error) => Promise.reject(place ? nameFile(error, file) : error)));
    if (running !== job) return {};
  }
  try {
    const text = addReports(answers.map((answer) => answer.text));
    return { text, summary: addSummaries(answers.map((answer) => answer.summary), text) };
  } catch (error) {
    throw new ReportError("This report cannot be shown", error.message);
  }
}

function nameFile(error, { name }) {
  error.problem = { ...error.problem, detail: `${name}: ${error.problem?.detail ?? ""}` };
  return error;
}

function addSummaries(summaries, text) {
  if (summaries.length === 1) return summaries[0];
  if (!summaries.every((summary) => "read" in summary)) return {};
  const added = Object.fromEntries(Object.keys(summaries[0]).map((key) => [key, sum(summaries.map((summary) => summary[key]))]));
  return { ...added, hours: text.trimEnd().split("\n").length - 1 };
}

// Reads a report as it is; sends events to the server.
async function reportOfFile({ name, blob }, place, job) {
  showProgress(`Reading ${name}${place} …`);
  const start = new Uint8Array(await readable(blob.slice(0, 64).arrayBuffer()));
  const kind = kindOf(start);
  const isPacked = kind === "gzip" && /\.csv\.gz$/i.test(name);
  if (isPacked || isReport(new TextDecoder().decode(start))) {
    const text = await readable(new Response(isPacked ? blob.stream().pipeThrough(new DecompressionStream("gzip")) : blob).text());
    return { text, summary: {} };
  }
  if (blob.size > server.limit) throw tooLarge(blob.size);
  if (kind || blob.size < MIN_COMPRESSIBLE || !globalThis.CompressionStream) return post(blob, kind, `${name}${place}`, job);
  showProgress(`Compressing ${name}${place} …`);
  const packed = await readable(new Response(blob.stream().pipeThrough(new CompressionStream("gzip"))).blob());
  return post(packed, "gzip", `${name}${place}`, job);
}

const readable = (promise) => promise.catch(() => Promise.reject(new ReportError("This file could not be read", "It may have been moved, changed or damaged since it was chosen.")));

// What a file is compressed with by its first bytes: a Content-Encoding, or "stored" for formats that the server finds itself.
function kindOf(bytes) {
  const magic = String.fromCharCode(...bytes.slice(0, 4));
  const kinds = [["\x1f\x8b", "gzip"], ["\x28\xb5\x2f\xfd", "zstd"], ["BZh", "stored"], ["PAR1", "stored"]];
  return kinds.find(([start]) => magic.startsWith(start))?.[1] ?? "";
}

function post(body, encoding, name, job) {
  if (running !== job) return new Promise(() => {}); // cancelled
  const request = (job.request = new XMLHttpRequest());
  const query = parameters();
  return new Promise((resolve, reject) => {
    request.open("POST", query.size ? `./?${query}` : "./");
    request.responseType = "blob";
    if (encoding && encoding !== "stored") request.setRequestHeader("Content-Encoding", encoding);
    if (/[^\x21-\x7e]/.test(token)) return reject(new ReportError("This token is not valid", "It contains characters that are not allowed in a token. Enter it again.", {}, 401));
    if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
    showProgress(`Sending ${name} …`, 0);
    request.upload.onprogress = ({ loaded, total }) => showProgress(`Sending ${name} …`, loaded / total, `${percent.format(Math.round((100 * loaded) / total) / 100)} of ${mebibytes(total)}`);
    request.upload.onload = () => showProgress("Making the report …");
    request.onerror = () => reject(responseError("network", ""));
    request.onload = async () => {
      const text = await request.response.text();
      if (request.status !== 200 || !isReport(text)) return reject(responseError(request.status, text, request.getResponseHeader("Retry-After")));
      resolve({ text, summary: JSON.parse(request.getResponseHeader("X-Report-Summary") ?? "{}") });
    };
    request.send(body);
  });
}

function finish(show) {
  running = null;
  showRunning(false);
  show();
}

const cancelRequest = () => running?.request?.abort();

function cancel() {
  cancelRequest();
  finish(() => setStatus("Cancelled."));
}

function showRunning(on) {
  const focused = [find("make"), find("cancel")].includes(document.activeElement);
  document.body.classList.toggle("running", on);
  find("make").hidden = on;
  find("cancel").hidden = !on;
  if (focused) find(on ? "cancel" : "make").focus();
}

function showProgress(phase, share, words) {
  setStatus(phase, words);
  if (share === undefined) find("progress").removeAttribute("value");
  else find("progress").value = share;
}

// Screen readers announce the phase, not each percent.
function setStatus(phase, share = "") {
  if (find("status").textContent !== phase) find("status").textContent = phase;
  find("share").textContent = share;
}
