
"use strict";
// Markdown to nodes. Text becomes text nodes and nothing else, so no answer can become part of the page.

const el = (tag, props = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children);
  return node;
};

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^\s`]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])(\s+|$)/;
const DELIMITERS = /^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;
const DEEPEST = 8; // beyond that, markers are text

// Nodes of a Markdown text; a code fence that is still open holds all that follows.
function markdown(text, copyLabel) {
  const fragment = document.createDocumentFragment();
  blocks(text.split("\n"), fragment, copyLabel, 0);
  return fragment;
}

function blocks(lines, parent, copyLabel, depth) {
  let at = 0;
  const isTable = (i) => lines[i].includes("|") && lines[i + 1]?.includes("|") && DELIMITERS.test(lines[i + 1]);
  const begins = (i) => FENCE.test(lines[i]) || HEADING.test(lines[i]) || RULE.test(lines[i]) || isTable(i)
    || (depth < DEEPEST && (QUOTE.test(lines[i]) || ITEM.test(lines[i])));
  const take = (holds) => { const from = at; while (at < lines.length && holds(lines[at], at)) at += 1; return lines.slice(from, at); };
  while (at < lines.length) {
    const line = lines[at];
    let found;
    if (!line.trim()) at += 1;
    else if ((found = FENCE.exec(line))) {
      const [, marks, language] = found;
      at += 1;
      const closes = (each) => each.trim().startsWith(marks) && !each.trim().replaceAll(marks[0], "");
      const code = take((each) => !closes(each)).join("\n");
      at += 1;
      parent.append(codeBlock(code, language, copyLabel));
    } else if ((found = HEADING.exec(line))) {
      parent.append(inline(found[2], el(`h${Math.min(6, found[1].length + 2)}`)));
      at += 1;
    } else if (RULE.test(line)) {
      parent.append(el("hr"));
      at += 1;
    } else if (isTable(at)) {
      const rows = take((each) => each.includes("|"));
      parent.append(table(rows));
    } else if (depth < DEEPEST && QUOTE.test(line)) {
      const quote = el("blockquote");
      blocks(take((each) => QUOTE.test(each)).map((each) => each.replace(QUOTE, "")), quote, copyLabel, depth + 1);
      parent.append(quote);
    } else if (depth < DEEPEST && ITEM.test(line)) parent.append(list());
    else {
      at += 1;
      const rest = take((each, i) => each.trim() && !begins(i));
      parent.append(inline([line, ...rest].join("\n"), el("p")));
    }
  }

  function list() {
    const [, indent, marker] = ITEM.exec(lines[at]);
    const ordered = /\d/.test(marker);
    const node = el(ordered ? "ol" : "ul");
    if (ordered) node.start = parseInt(marker, 10);
    while (at < lines.length) {
      const item = ITEM.exec(lines[at]);
      if (!item || item[1].length > indent.length + 1 || /\d/.test(item[2]) !== ordered || RULE.test(lines[at])) break;
      const width = item[0].length;
      const content = [lines[at].slice(width)];
      at += 1;
      while (at < lines.length) {
        const inner = lines[at].length - lines[at].trimStart().length > indent.length + 1;
        const blank = !lines[at].trim();
        if (blank ? !/^\s{2,}\S/.test(lines[at + 1] ?? "") : !inner && (ITEM.test(lines[at]) || begins(at) || !content.at(-1).trim())) break;
        content.push(lines[at].slice(Math.min(width, lines[at].length - lines[at].trimStart().length)));
        at += 1;
      }
      const entry = el("li");
      blocks(content, entry, copyLabel, depth + 1);
      node.append(entry);
      while (at + 1 < lines.length && !lines[at].trim() && ITEM.test(lines[at + 1])) at += 1;
    }
    return node;
  }
}

function codeBlock(code, language, copyLabel) {
  const copy = el("button", { type: "button", className: "plain", textContent: copyLabel });
  copy.dataset.copy = code;
  return el("div", { className: "block" }, el("header", {}, el("span", { textContent: language }), copy), el("pre", { tabIndex: 0 }, el("code", { textContent: code })));
}

function cells(row) {
  const inner = row.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function table([head, delimiters, ...rows]) {
  const sides = cells(delimiters).map((mark) => (mark.endsWith(":") ? (mark.startsWith(":") ? "center" : "end") : ""));
  const line = (row, tag) => {
    const found = cells(row);
    return el("tr", {}, ...sides.map((className, i) => inline(found[i] ?? "", el(tag, { className }))));
  };
  const body = el("tbody", {}, ...rows.map((row) => line(row, "td")));
  return el("div", { className: "scroll", tabIndex: 0 }, el("table", {}, el("thead", {}, line(head, "th")), body));
}

const INLINE = new RegExp([
  "(?<ticks>`+)(?<code>[^]+?)(?<!`)\\k<ticks>(?!`)",
  "\\\\(?<escaped>[\\\\`*_~\\[\\]()#+\\-.!|<>])",
  "!?\\[(?<label>[^\\[\\]]*)\\]\\(\\s*<?(?<target>[^\\s()<>]+)>?(?:\\s+\"[^\"]*\")?\\s*\\)",
  "\\*\\*(?=\\S)(?<strong>[^]*?\\S)\\*\\*",
  "\\*(?=[^\\s*])(?<em>[^*]*?[^\\s*])\\*",
  "~~(?=\\S)(?<del>[^]*?\\S)~~",
  "(?<bare>https?://[^\\s<>\"'`*|，。；：！？、（）《》「」【】]+)",
].join("|"), "g");

function inline(text, parent) {
  let at = 0;
  for (const found of text.matchAll(INLINE)) {
    parent.append(text.slice(at, found.index));
    at = found.index + found[0].length;
    const { code, escaped, label, target, strong, em, del, bare } = found.groups;
    if (code !== undefined) parent.append(el("code", { textContent: code.replace(/^ (.*[^ ].*) $/, "$1") }));
    else if (escaped) parent.append(escaped);
    else if (target) parent.append(link(target, label || target, found[0]));
    else if (bare) {
      const address = bare.replace(/[.,;:!?)\]]+$/, "");
      parent.append(link(address, address, address), bare.slice(address.length));
    } else parent.append(inline(strong ?? em ?? del, el(strong ? "strong" : em ? "em" : "del")));
  }
  parent.append(text.slice(at));
  return parent;
}

// A link where it leads to a page or to mail; else the text as it was. Images are links too: one that is
// loaded would tell its server of the chat.
function link(target, label, source) {
  let address;
  try { address = new URL(target); } catch { return source; }
  if (!["http:", "https:", "mailto:"].includes(address.protocol)) return source;
  return el("a", { href: address.href, textContent: label, target: "_blank", rel: "noopener noreferrer" });
}
