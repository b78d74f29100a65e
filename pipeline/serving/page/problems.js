// Error messages and the table of invalid records. Text from the server is inserted with textContent only.

let failedJob = null; // the job that "Send again" runs again

const MESSAGES = {
  400: ["Some records are invalid", "Correct these records and send the events again, or select “Skip invalid records”."],
  401: ["This server requires a token", "Enter your token. It is kept only until you leave this page."],
  413: ["The input is too large", "Send it in smaller parts. The limit also applies after decompression."],
  415: ["The server does not support this compression", "Send the events uncompressed or compressed with gzip."],
  503: ["The server is busy", "It is making other reports."],
  failed: ["The server failed", "Your input is not the cause. Try again later."],
  network: ["The connection failed", "The server could not be reached or closed the connection. It may be down, or the input may be too large."],
};

function responseError(status, text, wait = "") {
  let problem = {};
  try {
    problem = JSON.parse(text) ?? {};
  } catch {} // not a problem document, such as a proxy's error page
  let [title, advice] = MESSAGES[status] ?? (status >= 500 ? MESSAGES.failed : [`The server responded with status ${status}`, ""]);
  if (status === 401 && token) title = "The server rejected this token";
  if (status === 400 && !problem.rejects) [title, advice] = ["The input could not be read", ""];
  if (!problem.rejects && /\b(time zone|UTC offset|factor|parameter)\b/.test(problem.detail)) title = "An option is not valid";
  if (status === 503) advice += ` Try again in ${/^\d+$/.test(wait) ? `${wait} s` : "a moment"}.`;
  return new ReportError(title, advice, problem, status);
}

const tooLarge = (size) => new ReportError(...MESSAGES[413], { detail: `The input has ${mebibytes(size)}; this server accepts up to ${mebibytes(server.limit)}.` }, 413);

function showProblem({ title, advice, problem, status }, job) {
  const rejects = Array.isArray(problem.rejects) ? problem.rejects : [];
  failedJob = job;
  if (job.use === showNewReport) find("report").hidden = true;
  setStatus("");
  find("problem-title").textContent = title;
  find("problem-advice").textContent = advice;
  find("problem-detail").textContent = problem.detail ?? "";
  find("problem-command").textContent = problem.command ?? "";
  showRejects(rejects);
  const left = problem.rejected - rejects.length;
  find("more-rejects").textContent = left > 0 ? `And ${integer.format(left)} more.` : "";
  find("token-field").hidden = status !== 401;
  find("again").hidden = !(status === 401 || status === "network" || status >= 500); // other errors are permanent
  find("problem").hidden = false;
  reveal("problem", status === 401 ? "token" : "problem-title");
}

// Line, index and byte are columns if at least one record has them.
function showRejects(rejects) {
  const places = [["Line", "line"], ["Index", "index"], ["Byte", "offset"]].filter(([, key]) => rejects.some((reject) => reject[key] != null));
  const number = (value) => element("td", {}, value == null ? "–" : integer.format(value));
  const row = (reject) => [...places.map(([, key]) => number(reject[key])), element("td", { class: "reason" }, reject.reason), element("td", { class: "raw" }, ...markFault(reject))];
  find("rejects-head").replaceChildren(...[...places.map(([name]) => name), "Reason", "Record"].map((name) => element("th", { scope: "col" }, name)));
  find("rejects").replaceChildren(...rejects.map((reject) => element("tr", {}, ...row(reject))));
  find("rejects-box").hidden = !rejects.length;
}

// The record's text; the part that the reason refers to is marked: a position, a quoted value, or a named field.
function markFault({ reason, raw }) {
  if (typeof raw !== "string") return ["–"];
  const [start, end] = faultyRange(reason, raw);
  return [raw.slice(0, start), element("mark", {}, raw.slice(start, end)), raw.slice(end)];
}

function faultyRange(reason, raw) {
  const whole = [0, raw.length];
  const place = /at character (\d+)/.exec(reason);
  if (place) return +place[1] < raw.length ? [+place[1], +place[1] + 1] : whole;
  const quoted = /(['"])(.+)\1/.exec(reason)?.[2];
  if (quoted && raw.includes(quoted)) return [raw.lastIndexOf(quoted), raw.lastIndexOf(quoted) + quoted.length];
  const name = /\b(id|event|timestamp)\b/.exec(reason)?.[1];
  const member = new RegExp(`"${name}"\\s*:\\s*("(?:[^"\\\\]|\\\\.)*"|[^\\s,}\\]]+)`).exec(raw);
  return member ? [member.index, member.index + member[0].length] : whole;
}
