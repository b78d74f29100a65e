// The report as data: parsing, adding up, totals and rates. Independent of the document.

const EVENTS = ["impressions", "video_start", "video_25", "video_50", "video_75", "video_completed"];
const HEADER = `hour,${EVENTS.join()},impressions_scaled`;
const LINE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d(,\d+){6},\d+(\.\d+)?$/;
const HOUR = 3600000; // milliseconds
const MIN_BASE = 30; // rates with a smaller base are greyed: one more viewer changes them by over 3 points
const RATES = [
  { name: "video_start", of: "impressions", label: "View rate", noun: "impressions" },
  { name: "video_25", of: "video_start", label: "Reached 25%", noun: "starts" },
  { name: "video_50", of: "video_start", label: "Reached 50%", noun: "starts" },
  { name: "video_75", of: "video_start", label: "Reached 75%", noun: "starts" },
  { name: "video_completed", of: "video_start", label: "Completion rate", noun: "starts" },
];

// Rows have two times in hours since 1970: `local` at their own UTC offset, which determines days, and `time` at the
// offset of the first row, which is continuous across summer time. Throws an Error with the reason.
function parseReport(text) {
  const [header, ...lines] = text.replaceAll("\r", "").trimEnd().split("\n");
  if (header !== HEADER) throw new Error(`The first line is not ${HEADER}.`);
  return reportOf(lines.map(parseLine));
}

function parseLine(line, index) {
  const [hour, ...numbers] = line.split(",");
  const instant = Date.parse(hour) / HOUR;
  if (!LINE.test(line) || Number.isNaN(instant)) throw new Error(`Line ${index + 2} is not a row of a report.`);
  return { hour, instant, counts: numbers.slice(0, -1).map(Number), scaled: numbers.at(-1) };
}

function reportOf(unsorted) {
  const rows = unsorted.sort((one, other) => one.instant - other.instant);
  const base = rows.length ? offsetOf(rows[0]) : 0;
  rows.forEach((row, index) => Object.assign(row, { index, local: row.instant + offsetOf(row), time: row.instant + base }));
  return { rows, zones: [...new Set(rows.map(({ hour }) => `UTC${hour.slice(19)}`))] };
}

function offsetOf({ hour }) {
  const [sign, hours, minutes] = [`${hour[19]}1`, hour.slice(20, 22), hour.slice(23)];
  return Number(sign) * (Number(hours) + minutes / 60);
}

const isReport = (text) => text.startsWith("hour,impressions,");

// Adds up reports hour by hour. Throws an Error if one is not a report or their time zones differ.
function addReports(texts) {
  const parsed = texts.map((text) => parseReport(text).rows);
  if (texts.length === 1) return texts[0];
  const hours = new Map();
  for (const row of parsed.flat()) {
    const found = hours.get(row.instant);
    if (found && found.hour !== row.hour) throw new Error("These reports are in different time zones, so their hours cannot be added up.");
    if (!found) hours.set(row.instant, { ...row });
    else Object.assign(found, { counts: row.counts.map((count, order) => count + found.counts[order]), scaled: decimalSum([row.scaled, found.scaled]) });
  }
  const { rows } = reportOf([...hours.values()]);
  if (rows.some(({ time }) => !Number.isInteger(time - rows[0].time))) throw new Error("These reports are in time zones that are not whole hours apart.");
  return [HEADER, ...rows.map(({ hour, counts, scaled }) => [hour, ...counts, scaled].join()), ""].join("\n");
}

const totals = (rows) => EVENTS.map((_, order) => sum(rows.map(({ counts }) => counts[order])));

// Adds decimals exactly, as text.
function decimalSum(texts) {
  const places = Math.max(1, ...new Set(texts.map((text) => text.split(".")[1]?.length ?? 0)));
  const total = texts.reduce((all, text) => {
    const [whole, part = ""] = text.split(".");
    return all + BigInt(whole + part.padEnd(places, "0"));
  }, 0n);
  const digits = String(total).padStart(places + 1, "0");
  return `${digits.slice(0, -places)}.${digits.slice(-places)}`.replace(/(\.\d+?)0+$/, "$1");
}

const countOf = (counts, name) => counts[EVENTS.indexOf(name)];

// null if the base is zero.
const rateOf = (counts, { name, of }) => (countOf(counts, of) ? countOf(counts, name) / countOf(counts, of) : null);

const rateText = (value) => (value === null ? "–" : percent.format(value));

const isFew = (counts, { of }) => countOf(counts, of) < MIN_BASE;

// Why a rate is unreliable, or "".
function caution(counts, rate) {
  const [value, base] = [rateOf(counts, rate), countOf(counts, rate.of)];
  if (value === null) return `no ${rate.noun}`;
  const few = isFew(counts, rate) ? `based on only ${integer.format(base)} ${base === 1 ? rate.noun.slice(0, -1) : rate.noun}` : "";
  return [few, value > 1 ? `over 100%: some ${rate.noun} are missing or happened before these hours` : ""].filter(Boolean).join("; ");
}
