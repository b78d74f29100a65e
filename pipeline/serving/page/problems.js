// What went wrong, in words, with the table of invalid records. Text from the server only ever goes through textContent.

let failed = null; // the job that "Send again" runs again

const WORDS = {
  400: ["Some records are not events", "A report is made only when every record is an event. Correct these and send it once more, or leave out invalid records."],
  401: ["This server asks for a token", "Enter the token that you were given. It is kept until you leave this page."],
  413: ["This is too large", "Send it in smaller parts. The limit also holds for what a .gz file unpacks to."],
  415: ["The server does not read this compression", "Send the events as they are, or compressed with gzip."],
  503: ["The server is busy", "All its places are taken."],
  failed: ["The server failed", "This is not about what you sent. Try it again later."],
  network: ["The connection failed", "The server could not be reached, or hung up on the way. It may be down, and some hang up on what is too large."],
};

function explain(status, text, wait = "") {
  let problem = {};
  try {
    problem = JSON.parse(text) ?? {};
  } catch {} // a proxy's own page, say: then the status has to do
  let [title, advice] = WORDS[status] ?? (status >= 500 ? WORDS.failed : [`The server answered with status ${status}`, ""]);
  if (status === 401 && token) title = "The server does not accept this token";
  if (status === 400 && !problem.rejects) [title, advice] = ["This could not be read", ""];
  if (!problem.rejects && /\b(time zone|UTC offset|factor|parameter)\b/.test(problem.detail)) title = "This option does not work";
  if (status === 503) advice += ` Try again in ${/^\d+$/.test(wait) ? `${wait} s` : "a moment"}.`;
  return new Refusal(title, advice, problem, status);
}

const tooLarge = (size) => new Refusal(...WORDS[413], { detail: `It has ${mebibytes(size)}; the limit of this server is ${mebibytes(server.limit)}.` }, 413);

function showProblem({ title, advice, problem, status }, job) {
  const rejects = Array.isArray(problem.rejects) ? problem.rejects : [];
  failed = job;
  if (job.use === showMade) find("report").hidden = true;
  say("");
  find("problem-title").textContent = title;
  find("problem-advice").textContent = advice;
  find("problem-detail").textContent = problem.detail ?? "";
  find("problem-command").textContent = problem.command ?? "";
  showRejects(rejects);
  const left = problem.rejected - rejects.length;
  find("more-rejects").textContent = left > 0 ? `And ${integer.format(left)} more.` : "";
  find("token-field").hidden = status !== 401;
  find("again").hidden = !(status === 401 || status === "network" || status >= 500); // the same again would fail again
  find("problem").hidden = false;
  reveal("problem", status === 401 ? "token" : "problem-title");
}

// Line, index and byte are columns where at least one record has them.
function showRejects(rejects) {
  const places = [["Line", "line"], ["Index", "index"], ["Byte", "offset"]].filter(([, key]) => rejects.some((reject) => reject[key] != null));
  const number = (value) => element("td", {}, value == null ? "–" : integer.format(value));
  const row = (reject) => [...places.map(([, key]) => number(reject[key])), element("td", { class: "reason" }, reject.reason), element("td", { class: "raw" }, ...marked(reject))];
  find("rejects-head").replaceChildren(...[...places.map(([name]) => name), "Reason", "Record"].map((name) => element("th", { scope: "col" }, name)));
  find("rejects").replaceChildren(...rejects.map((reject) => element("tr", {}, ...row(reject))));
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
