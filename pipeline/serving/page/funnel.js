// Key figures, and the funnel from impressions to completed views.

const STEPS = ["Impressions", "Started", "Reached 25%", "Reached 50%", "Reached 75%", "Completed"]; // in the order of EVENTS

// rows: of the visible range. before: rows to compare with, or null.
function showFigures(rows, before) {
  const [counts, old] = [totals(rows), before && totals(before)];
  const scaled = decimalSum(rows.map((row) => row.scaled));
  const [first, last] = rows.length ? [rows[0], rows.at(-1)].map(rowHour) : ["–", "–"];
  const figures = [
    ["Impressions", integer.format(counts[0]), countChange(counts[0], old?.[0])],
    ...RATES.map((rate) => [rate.label, rateText(rateOf(counts, rate)), rateChange(rate, counts, old), caution(counts, rate) || `of ${rate.noun}`, caution(counts, rate)]),
    ["Scaled impressions", grouped(scaled), old && countChange(Number(scaled), Number(decimalSum(before.map((row) => row.scaled))))],
    ["First hour", first],
    ["Last hour", last],
  ];
  find("figures").replaceChildren(...figures.map(figure));
  showFunnel(counts, old);
}

const figure = ([label, value, change, note = "", few = ""]) =>
  element("div", few ? { class: "few" } : {}, element("dt", {}, label), element("dd", {}, value), ...(change ? [element("dd", { class: "change" }, change)] : []), element("dd", { class: "quiet" }, note));

function countChange(now, old) {
  if (old === undefined || old === null) return "";
  return old ? `${signed.format((100 * (now - old)) / old)}% from ${compact.format(old)}` : "from 0";
}

function rateChange(rate, counts, old) {
  if (!old) return "";
  const [now, then] = [rateOf(counts, rate), rateOf(old, rate)];
  return now === null || then === null ? "no rate to compare" : `${signed.format(100 * (now - then))} points`;
}

function showFunnel(counts, old) {
  const base = counts[0] ? 0 : 1; // without impressions, starts are the base
  const most = Math.max(...counts);
  find("funnel-card").hidden = !most;
  find("funnel-note").textContent = base ? "There are no impressions: shares are relative to starts." : "";
  find("funnel").replaceChildren(...counts.map((count, order) => funnelStep(counts, order, base)));
  [...find("funnel").children].forEach((step, order) => {
    step.querySelector("i").style.inlineSize = `${(100 * counts[order]) / (most || 1)}%`;
    if (old) step.querySelector(".count").append(element("small", {}, countChange(counts[order], old[order])));
  });
}

function funnelStep(counts, order, base) {
  const [share, few] = order < base ? ["", ""] : shareText(counts, order, base);
  const [loss, why] = order > base ? lossText(counts, order) : ["", ""];
  const part = (kind, text, isFew) => element("span", { class: isFew ? `${kind} few` : kind }, text);
  const parts = [part("name", STEPS[order]), element("span", { class: "track", "aria-hidden": "true" }, element("i")), part("count", integer.format(counts[order])), part("share", share, few), part("loss", loss, why)];
  return element("li", { class: `s${order}` }, ...parts, ...(why ? [element("small", { class: "why" }, why)] : []));
}

function shareText(counts, order, base) {
  if (!counts[base]) return ["–", true];
  return [`${percent.format(counts[order] / counts[base])} of ${base ? "starts" : "impressions"}`, counts[base] < MIN_BASE];
}

// Loss from the previous step, and why it is unreliable, or "".
function lossText(counts, order) {
  const [before, now] = [counts[order - 1], counts[order]];
  if (!before) return ["–", now ? "No rate: the previous step has no events." : ""];
  const text = now > before ? `${percent.format(now / before - 1)} more` : `${percent.format(1 - now / before)} lost`;
  const few = before < MIN_BASE ? `Based on only ${before} ${before === 1 ? "event" : "events"} in the previous step.` : "";
  const more = now > before ? "More than in the previous step: some of its events are missing or happened before these hours." : "";
  return [text, [few, more].filter(Boolean).join(" ")];
}
