
const WORDS = {
  zh: {
    fresh: "新对话", history: "历史", settings: "设置", close: "关闭", hello: "问点什么吧。", enterHint: "按 Enter 发送，Shift + Enter 换行。", keptHint: "历史只保存在此浏览器中。", talk: "对话",
    key: "API 密钥", locked: "请输入 API 密钥。", wrongKey: "密钥不对，请再试。", remember: "在此浏览器中记住", unlock: "确定",
    question: "输入问题", send: "发送", stop: "停止", copy: "复制", copied: "已复制", notCopied: "请手动选择复制", again: "重新生成", retry: "重试",
    edit: "编辑", save: "保存并发送", cancel: "取消", editing: "修改问题",
    queued: "排队中……", writing: "正在回答……", stopped: "已停止", cut: "已达长度上限", broke: "回答中断了。", gone: "连接不上服务器。", done: "回答完成。",
    unseen: (n) => `模型看不到较早的 ${n} 条消息`,
    rename: "重命名", newName: "新名称", remove: "删除", deleteAll: "全部删除", deleteAllSure: "确定全部删除？", export: "导出", import: "导入",
    noChats: "还没有对话。", badFile: "这个文件不是导出的对话，没有导入。", largeFile: "这个文件超过 5 MB，没有导入。",
    full: "浏览器的存储空间已满或被禁用，新消息没有保存。请导出并删除一些对话。",
    temperature: "温度", topP: "Top-p", length: "最大长度", seed: "随机种子", system: "系统提示", theme: "外观", language: "语言",
    themeSystem: "跟随系统", themeLight: "浅色", themeDark: "深色", modelDefault: "模型默认", random: "随机", reset: "恢复默认",
    errors: {
      queue_full: "服务器正忙，请稍后再试。", queue_timeout: "等待太久，请稍后再试。", deadline_exceeded: "回答超过了时间限制。",
      shutting_down: "服务器正在关闭。", model_loading: "模型正在加载，请稍后再试。", context_length_exceeded: "问题太长了，请缩短。",
      internal_error: "服务器出错了。", request_too_large: "内容太大了。", invalid_value: "有一项设置不在允许范围内。", other: "请求没有成功。",
    },
  },
  en: {
    fresh: "New chat", history: "History", settings: "Settings", close: "Close", hello: "Ask something.", enterHint: "Enter sends, Shift + Enter begins a new line.", keptHint: "The history stays in this browser.", talk: "Conversation",
    key: "API key", locked: "This server asks for a key.", wrongKey: "That key does not fit. Try again.", remember: "Remember in this browser", unlock: "Unlock",
    question: "Your question", send: "Send", stop: "Stop", copy: "Copy", copied: "Copied", notCopied: "Select and copy by hand", again: "Regenerate", retry: "Retry",
    edit: "Edit", save: "Save and send", cancel: "Cancel", editing: "Edit the question",
    queued: "Waiting for its turn…", writing: "Writing…", stopped: "Stopped", cut: "Length limit reached", broke: "The answer broke off.", gone: "The server cannot be reached.", done: "Answer complete.",
    unseen: (n) => `The model does not see ${n === 1 ? "an earlier message" : `${n} earlier messages`}`,
    rename: "Rename", newName: "New name", remove: "Delete", deleteAll: "Delete all", deleteAllSure: "Really delete all?", export: "Export", import: "Import",
    noChats: "No chats yet.", badFile: "That file holds no exported chats; nothing was imported.", largeFile: "That file is over 5 MB; nothing was imported.",
    full: "The browser's storage is full or blocked: new messages are not kept. Export and delete some chats.",
    temperature: "Temperature", topP: "Top-p", length: "Longest answer", seed: "Seed", system: "System text", theme: "Colours", language: "Language",
    themeSystem: "As the system", themeLight: "Light", themeDark: "Dark", modelDefault: "model default", random: "random", reset: "Reset",
    errors: {
      queue_full: "The server is busy. Try again soon.", queue_timeout: "It waited too long. Try again soon.", deadline_exceeded: "The answer ran over its time limit.",
      shutting_down: "The server is being stopped.", model_loading: "The model is being loaded. Try again soon.", context_length_exceeded: "The question is too long. Shorten it.",
      internal_error: "The server made a mistake.", request_too_large: "That is too large.", invalid_value: "A setting is out of its range.", other: "The request failed.",
    },
  },
};
const LATEST = 63; // messages that are sent at most; odd: they begin with a question
const MAX_FILE = 5e6;
const SILENT_MS = 60000; // the server writes at least every 15 s to a stream; a network that is gone says nothing
const UNDER_WAY = ["queued", "writing"];
const SETTINGS = ["temperature", "top_p", "max_tokens", "seed", "system"];

const at = (id) => document.getElementById(id);
const touch = matchMedia("(pointer: coarse)").matches;

// What the browser keeps, and what it keeps for this tab; without storage the page works and keeps nothing.
const keeper = (storage) => ({
  get(name, otherwise) { try { return JSON.parse(window[storage].getItem(`smolchat.${name}`)) ?? otherwise; } catch { return otherwise; } },
  set(name, value) { try { window[storage].setItem(`smolchat.${name}`, JSON.stringify(value)); return true; } catch { return false; } },
});
const kept = keeper("localStorage"), inTab = keeper("sessionStorage");

let language = kept.get("language", navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
let words = WORDS[language] ?? WORDS.en;
let chats = []; // newest first
let chat = newChat(); // the one on show; it joins `chats` with its first question
const changed = new Map(); // id -> chat that the store does not have as it is
const known = new Set(); // ids that the store has held, and removed ones
let key = inTab.get("key", null) ?? kept.get("key", null);
let running = null; // { controller, chat } of the answer being written
let renaming = null; // id of a chat
let full = false; // the browser's store takes no more

// Conversations

function newChat() { return { id: crypto.randomUUID?.() ?? String(Math.random()).slice(2), title: "", messages: [] }; }

// A chat of a file or of the browser's store, without anything else it holds; null if it is none.
function readChat(data) {
  if (typeof data?.id !== "string" || typeof data.title !== "string" || !Array.isArray(data.messages)) return null;
  const messages = [];
  for (const { role, content, state, error, unseen } of data.messages.map((m) => m ?? {})) {
    if (!["user", "assistant"].includes(role) || typeof content !== "string") return null;
    const told = UNDER_WAY.includes(state) ? "stopped" : state; // a reload cut it short, or another tab has it
    messages.push({ role, content, ...(typeof state === "string" ? { state: told } : {}), ...(typeof error === "string" ? { error } : {}), ...(unseen > 0 ? { unseen: Number(unseen) } : {}) });
  }
  return { id: data.id.slice(0, 64), title: data.title.slice(0, 200), messages };
}

function readChats(data) { return Array.isArray(data) ? data.map(readChat) : []; }
function stored() { return readChats(kept.get("chats", [])).filter(Boolean); }

// The tabs of a browser share its store. A tab takes over what others wrote before it writes, and writes nothing of its
// own but the chats that it changed; what is removed in one of them stays removed.
function sync() {
  const found = stored();
  for (const { id } of found) known.add(id);
  chats = found.map((each) => changed.get(each.id) ?? each);
  for (const each of changed.values()) if (!known.has(each.id)) chats.unshift(each);
  const i = chats.findIndex(({ id }) => id === chat.id);
  if (i >= 0 && (running?.chat === chat || JSON.stringify(readChat(chats[i])) === JSON.stringify(readChat(chat)))) chats[i] = chat;
  else if (i >= 0) show(chats[i]);
  else if (known.has(chat.id)) show(newChat());
  if (!renaming) list();
}

function save(...mine) {
  for (const each of mine) changed.set(each.id, each);
  sync();
  full = !kept.set("chats", chats);
  if (!full) {
    for (const { id } of chats) known.add(id);
    changed.clear();
  }
  at("history-note").textContent = full ? words.full : "";
}

function discard(gone) {
  const ids = new Set(gone.map(({ id }) => id));
  for (const id of ids) { known.add(id); changed.delete(id); }
  kept.set("chats", stored().filter(({ id }) => !ids.has(id))); // also where there is no room for what is unsaved
  save();
}

function show(other) {
  running?.controller.abort();
  chat = other;
  draw();
  follow(true);
}

// The server

function call(path, init = {}) {
  const headers = { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
  return fetch(path, { ...init, headers });
}

async function greet() {
  try {
    const response = await call("v1/models");
    if (response.status === 401) return lock();
    if (!response.ok) return setTimeout(greet, 2000); // it is loading
    const model = (await response.json()).data[0];
    at("model").textContent = model.id;
    at("max_tokens").max = model.max_output_tokens;
    at("system-field").hidden = !model.history_turns; // a model of single turns does not get it
    document.title = model.id;
  } catch { /* the first question will tell */ }
}

function lock() {
  if (!at("unlock").hidden) return; // both a greeting and a question were refused
  at("ask").hidden = true;
  at("unlock").hidden = false;
  at("locked").textContent = key ? words.wrongKey : words.locked;
  setKey(null, null);
  at("key").focus();
}

function setKey(value, place) {
  key = value;
  for (const each of [inTab, kept]) each.set("key", each === place ? value : null);
}

async function read(reader) {
  let timer;
  const silent = new Promise((_, refuse) => { timer = setTimeout(() => refuse(new Error("broke")), SILENT_MS); });
  try { return await Promise.race([reader.read(), silent]); } finally { clearTimeout(timer); }
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await read(reader);
    if (done) throw new Error("broke"); // a whole answer ends with [DONE]
    rest += value;
    const parts = rest.split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      if (part === "data: [DONE]") return;
      if (part.startsWith("data: ")) yield JSON.parse(part.slice(6));
    }
  }
}

function body(messages) {
  const settings = kept.get("settings", {});
  const found = { messages: messages.filter((m) => m.content).slice(-LATEST).map(({ role, content }) => ({ role, content })), stream: true };
  for (const name of SETTINGS) {
    if (name === "system") { if (!at("system-field").hidden && settings.system?.trim()) found.messages.unshift({ role: "system", content: settings.system }); }
    else if (Number.isFinite(settings[name])) found[name] = settings[name];
  }
  return JSON.stringify(found);
}

// Ask the chat's last question; an earlier answer to it is kept if no other comes.
async function answer(earlier = null) {
  const mine = chat;
  const message = { role: "assistant", content: "", state: "queued" };
  const controller = new AbortController();
  const asked = body(mine.messages);
  mine.messages.push(message);
  running = { controller, chat: mine };
  save(mine);
  draw();
  follow(true);
  busy(true);
  let wanted = 0; // the frame in which the text is drawn next
  const paint = () => { wanted = 0; if (chat === mine) drawText(message); };
  let locked = false;
  try {
    const response = await call("v1/chat/completions", { method: "POST", body: asked, signal: controller.signal });
    if (response.status === 401) { locked = true; return; }
    if (!response.ok) throw await refusal(response);
    message.state = "writing";
    const unseen = Number(response.headers.get("x-truncated-turns"));
    if (unseen) message.unseen = unseen;
    paint();
    for await (const data of events(response)) {
      if (data.error) throw failure(data.error);
      const choice = data.choices[0];
      if (choice?.delta.content) { message.content += choice.delta.content; wanted ||= requestAnimationFrame(paint); }
      if (choice?.finish_reason === "length") message.cut = true;
    }
    message.state = message.cut ? "cut" : "";
    at("said").textContent = words.done;
  } catch (error) {
    if (controller.signal.aborted) message.state = "stopped";
    else {
      message.state = "failed";
      message.error = typeof error.code === "string" ? error.code : (error instanceof TypeError && message.content === "" ? "gone" : "broke");
      controller.abort(); // what is left of it
    }
    message.content ||= earlier?.content ?? "";
  } finally {
    cancelAnimationFrame(wanted);
    if (running?.controller === controller) { running = null; busy(false); }
    if (locked) { mine.messages.pop(); lock(); }
    delete message.cut;
    save(mine);
    if (chat === mine) draw();
  }
}

// Proxies answer in HTML for a server that is gone.
async function refusal(response) {
  try { return failure((await response.json()).error); } catch { return failure({ code: response.status >= 500 ? "gone" : "other" }); }
}

function failure({ code, message }) { return Object.assign(new Error(message), { code: code ?? "other" }); }

// What is on show

let drawn = new WeakMap(); // message -> its nodes

function draw() {
  const following = atBottom();
  const nodes = chat.messages.map((message) => drawn.get(message)?.node ?? turn(message));
  if (full) nodes.push(el("p", { className: "bad", role: "alert", textContent: words.full }));
  if (!nodes.length) nodes.push(hello());
  // What is on show stays in its place, with its focus and selection and a question that is being edited.
  const talk = at("talk");
  for (const node of [...talk.children]) if (!nodes.includes(node)) node.remove();
  for (const [i, node] of nodes.entries()) if (talk.children[i] !== node) talk.insertBefore(node, talk.children[i] ?? null);
  for (const message of chat.messages) if (message.role === "assistant") drawText(message);
  follow(following);
}

function hello() {
  const lines = [words.hello, ...(touch ? [] : [words.enterHint]), words.keptHint];
  return el("div", { className: "hello" }, ...lines.map((textContent) => el("p", { textContent })));
}

function turn(message) {
  const said = el("div", { className: "said" });
  const footer = el("footer");
  const node = el("article", { className: `turn ${message.role}` }, said, footer);
  drawn.set(message, { node, said, footer });
  if (message.role === "user") {
    said.textContent = message.content;
    footer.append(button("copy", () => copy(message.content, footer.firstChild)), button("edit", () => edit(message)));
  }
  return node;
}

function drawText(message) {
  const entry = drawn.get(message);
  if (!entry) return;
  const { node, said, footer } = entry;
  const following = atBottom();
  const under = UNDER_WAY.includes(message.state);
  node.classList.toggle("writing", under);
  said.hidden = !under && !message.content;
  if (entry.text !== message.content) said.replaceChildren(markdown(entry.text = message.content, words.copy));
  const parts = [];
  const latest = chat.messages.at(-1) === message;
  if (message.state === "failed") {
    parts.push(el("span", { className: "bad", role: "alert", textContent: told(message.error) }));
    if (latest) parts.push(button("retry", again));
  }
  else if (message.state) parts.push(el("span", { textContent: words[message.state] ?? "" }));
  if (message.unseen) parts.push(el("span", { textContent: words.unseen(message.unseen) }));
  if (!under) {
    if (message.content) parts.push(button("copy", (event) => copy(message.content, event.currentTarget)));
    if (latest && message.state !== "failed") parts.push(button("again", again));
  }
  footer.replaceChildren(...parts);
  follow(following);
}

function told(code) { return words[code] && ["gone", "broke"].includes(code) ? words[code] : words.errors[code] ?? words.errors.other; }

function button(name, act) {
  const node = el("button", { type: "button", className: "plain", textContent: words[name] });
  node.dataset.act = name;
  node.addEventListener("click", act);
  return node;
}

function atBottom() { const talk = at("talk"); return talk.scrollHeight - talk.scrollTop - talk.clientHeight < 40; }
function follow(wanted) { if (wanted) at("talk").scrollTop = at("talk").scrollHeight; }

function busy(on) {
  at("send").hidden = on;
  at("stop").hidden = !on;
  at("talk").setAttribute("aria-busy", String(on));
  if (on) at("said").textContent = "";
  if (!on && !touch && !document.querySelector("dialog[open], .editing")) at("question").focus();
}

function again() {
  if (running) return;
  answer(chat.messages.at(-1)?.role === "assistant" ? chat.messages.pop() : null);
}

function edit(message) {
  const { said, footer } = drawn.get(message);
  const box = el("textarea", { className: "editing", value: message.content, rows: 1 });
  box.setAttribute("aria-label", words.editing);
  const cancel = () => { drawn.delete(message); draw(); at("question").focus(); };
  const sent = () => {
    if (!box.value.trim()) return;
    running?.controller.abort();
    running = null;
    chat.messages.length = chat.messages.indexOf(message); // what was said after it answered another question
    ask(box.value.trim());
  };
  box.addEventListener("input", () => fit(box));
  box.addEventListener("keydown", (event) => {
    if (enters(event)) { event.preventDefault(); sent(); }
    else if (event.key === "Escape" && !composing(event)) { event.stopPropagation(); cancel(); }
  });
  said.replaceWith(box);
  footer.replaceChildren(button("save", sent), button("cancel", cancel));
  fit(box);
  box.focus();
}

async function copy(text, node) {
  const done = await navigator.clipboard?.writeText(text).then(() => true, () => false);
  node.textContent = done || copySelected(text) ? words.copied : words.notCopied;
  setTimeout(() => { node.textContent = words.copy; }, 1500);
}

// A page that came over plain HTTP from another machine has no clipboard, but what is selected can be copied.
function copySelected(text) {
  const before = document.activeElement;
  const box = el("textarea", { className: "unseen", value: text });
  document.body.append(box);
  box.select();
  const done = document.execCommand("copy");
  box.remove();
  before?.focus();
  return done;
}

// Enter that ends the composing of a character sends nothing; Safari tells it by the code alone.
function composing(event) { return event.isComposing || event.keyCode === 229; }
function enters(event) { return event.key === "Enter" && !event.shiftKey && !touch && !composing(event); }

function ask(question) {
  if (!chat.title) chat.title = question.split("\n")[0].slice(0, 40);
  chat.messages.push({ role: "user", content: question });
  answer();
}

// As high as its text.
function fit(box) {
  const following = atBottom();
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
  follow(following);
}

// Labels, settings, history

function label() {
  words = WORDS[language] ?? WORDS.en;
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = words[node.dataset.t];
  for (const node of document.querySelectorAll("[data-p]")) node.placeholder = words[node.dataset.p];
  for (const node of document.querySelectorAll("[data-l]")) {
    if ("placeholder" in node && node.type !== "file") node.placeholder = words[node.dataset.l];
    node.setAttribute("aria-label", words[node.dataset.l]);
  }
  at("language").value = language;
  drawn = new WeakMap();
  draw();
  list();
}

function theme(value) {
  if (value) document.documentElement.dataset.theme = value;
  else delete document.documentElement.dataset.theme;
  at("theme").value = value;
}

function fill() {
  const settings = kept.get("settings", {});
  for (const name of SETTINGS) at(name).value = settings[name] ?? "";
}

function list() {
  const entries = chats.map((each) => {
    if (renaming === each.id) {
      const box = el("input", { value: each.title, maxLength: 200 });
      box.setAttribute("aria-label", words.newName);
      const finish = () => {
        if (renaming !== each.id) return;
        renaming = null;
        const named = chats.find(({ id }) => id === each.id);
        if (!named || !box.value.trim()) return list();
        named.title = box.value.trim();
        save(named);
      };
      box.addEventListener("keydown", (event) => {
        if (event.key === "Enter" && !composing(event)) { event.preventDefault(); finish(); }
        else if (event.key === "Escape" && !composing(event)) { event.preventDefault(); renaming = null; list(); }
      });
      box.addEventListener("blur", finish);
      return el("li", {}, box);
    }
    const open = el("button", { type: "button", className: "plain", textContent: each.title });
    if (each.id === chat.id) open.setAttribute("aria-current", "true");
    open.addEventListener("click", () => { at("history").close(); if (each.id !== chat.id) show(each); });
    const rename = button("rename", () => { renaming = each.id; list(); at("chats").querySelector("input")?.select(); });
    const remove = button("remove", () => discard([each]));
    for (const node of [rename, remove]) node.setAttribute("aria-label", `${node.textContent}: ${each.title}`);
    return el("li", {}, open, rename, remove);
  });
  at("chats").replaceChildren(...(entries.length ? entries : [el("li", { textContent: words.noChats })]));
  at("delete-all").textContent = words.deleteAll;
  delete at("delete-all").dataset.sure;
}

at("export").addEventListener("click", () => {
  const text = JSON.stringify({ format: "smolchat-chats", version: 1, chats: readChats(chats) }, null, 1);
  const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  el("a", { href: address, download: `smolchat-${new Date().toISOString().slice(0, 10)}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
});
at("import").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  if (!file) return;
  let found = [];
  if (file.size <= MAX_FILE) {
    try { const data = JSON.parse(await file.text()); if (data.format === "smolchat-chats") found = readChats(data.chats); } catch { /* told below */ }
  }
  event.target.value = "";
  if (found.length && found.every(Boolean)) {
    for (const { id } of found) known.delete(id);
    save(...found.reverse());
  }
  else at("history-note").textContent = file.size > MAX_FILE ? words.largeFile : words.badFile;
});
at("delete-all").addEventListener("click", (event) => {
  if (!event.target.dataset.sure) { event.target.dataset.sure = "1"; event.target.textContent = words.deleteAllSure; return; }
  discard(chats);
});
addEventListener("storage", (event) => { if (!event.key || event.key === "smolchat.chats") sync(); }); // another tab wrote, or cleared all
for (const name of SETTINGS) {
  at(name).addEventListener("change", () => {
    const settings = kept.get("settings", {});
    const box = at(name);
    if (box.value === "" || !box.checkValidity()) { delete settings[name]; if (box.value !== "") box.reportValidity(); }
    else settings[name] = name === "system" ? box.value : Number(box.value);
    kept.set("settings", settings);
  });
}
at("reset").addEventListener("click", () => { kept.set("settings", {}); fill(); });
at("theme").addEventListener("change", (event) => { kept.set("theme", event.target.value); theme(event.target.value); });
at("language").addEventListener("change", (event) => { language = event.target.value; kept.set("language", language); label(); });
for (const name of ["history", "settings"]) {
  at(`open-${name}`).addEventListener("click", () => { list(); at(name).showModal(); });
  at(name).addEventListener("click", (event) => { if (event.target === at(name) || "close" in event.target.dataset) at(name).close(); });
  at(name).addEventListener("close", () => { renaming = null; at("history-note").textContent = ""; });
}

// The conversation

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = at("question").value.trim();
  if (!question || running) return;
  at("question").value = "";
  fit(at("question"));
  ask(question);
});
at("question").addEventListener("input", () => fit(at("question")));
at("question").addEventListener("keydown", (event) => {
  if (!enters(event)) return;
  event.preventDefault();
  at("ask").requestSubmit();
});
at("talk").addEventListener("click", (event) => {
  const { copy: code } = event.target.dataset;
  if (code !== undefined) copy(code, event.target);
});
at("stop").addEventListener("click", () => running?.controller.abort());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !composing(event) && !document.querySelector("dialog[open]")) running?.controller.abort();
});
at("fresh").addEventListener("click", () => { show(newChat()); at("question").focus(); });
at("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey(at("key").value.trim(), at("remember").checked ? kept : inTab);
  at("key").value = "";
  at("unlock").hidden = true;
  at("ask").hidden = false;
  at("question").focus();
  greet();
  if (chat.messages.at(-1)?.role === "user") answer(); // the question that the key was missing for
});

fill();
theme(kept.get("theme", ""));
sync();
label();
greet();
