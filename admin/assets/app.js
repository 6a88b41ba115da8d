// The only script. Every page works without it. It refreshes the regions that
// are marked with data-live, copies text, and adds keyboard shortcuts.

const seconds = (region) => Math.max(2, Number(region.dataset.live) || 5);

// key says what an element is about: of a row, its first action or link.
const key = (e) => e.getAttribute("id") || (e.localName === "tr" && (e.querySelector(".actions a") ?? e.querySelector("a"))?.getAttribute("href")) || e.localName;

// counterpart finds, from a node on, the one that is about the same as a newer one.
function counterpart(at, newer) {
  if (newer.nodeType !== Node.ELEMENT_NODE) return at?.nodeType === newer.nodeType ? at : null;
  while (at && (at.nodeType !== Node.ELEMENT_NODE || key(at) !== key(newer))) at = at.nextSibling;
  return at;
}

// update makes a node equal to a newer one. It changes only what differs, so the
// focus, selected text and what was opened are kept.
function update(old, newer) {
  if (old.isEqualNode(newer)) return;
  if (old.nodeType !== Node.ELEMENT_NODE) return void (old.data = newer.data);
  for (const { name, value } of newer.attributes) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) if (name !== "open" && !newer.hasAttribute(name)) old.removeAttribute(name);
  let at = old.firstChild;
  const removeTo = (end) => { while (at !== end) { const gone = at; at = at.nextSibling; gone.remove(); } };
  for (const child of [...newer.childNodes]) {
    const same = counterpart(at, child);
    if (!same) { old.insertBefore(child, at); continue; }
    removeTo(same);
    update(same, child);
    at = same.nextSibling;
  }
  removeTo(null);
}

let timer, waiting = 0;
function schedule() {
  clearTimeout(timer);
  const regions = [...document.querySelectorAll("[data-live]")];
  if (regions.length === 0 || document.hidden) return;
  // After a failure the pause doubles, to a minute at most.
  const pause = Math.min(60, Math.min(...regions.map(seconds)) * 2 ** waiting);
  timer = setTimeout(refresh, pause * 1000);
}

async function refresh() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error", signal: AbortSignal.timeout(10000) });
    if (!answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    prepare(page);
    for (const region of document.querySelectorAll("[data-live][id]")) {
      const newer = page.getElementById(region.id);
      if (newer) update(region, newer);
    }
    waiting = 0;
  } catch {
    waiting++;
  }
  document.getElementById("stale")?.toggleAttribute("hidden", waiting === 0);
  schedule();
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (!document.hidden && document.querySelector("[data-live]")) refresh();
});

// Copy buttons are hidden without the script. data-copy holds the id of the
// element with the text, or data-text the text.
function prepare(root) {
  for (const button of root.querySelectorAll("button[data-copy]")) button.hidden = !navigator.clipboard;
}

async function copy(button) {
  const label = button.textContent, text = button.dataset.text ?? document.getElementById(button.dataset.copy).textContent;
  button.textContent = await navigator.clipboard.writeText(text).then(() => "Copied", () => "Not copied: select the text instead");
  setTimeout(() => (button.textContent = label), 1500);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("button[data-copy]");
  if (button) copy(button);
});

// A second press of a confirming button does nothing.
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.method !== "post" || "download" in event.target.dataset) return;
  setTimeout(() => event.target.querySelectorAll("button").forEach((b) => (b.disabled = true)));
});
addEventListener("pageshow", (event) => {
  if (event.persisted) document.querySelectorAll("form[method=post] button").forEach((b) => (b.disabled = false));
});

// Shortcuts: "g" and a letter open a page, "/" goes to the search, "j" and "k"
// walk through the links of the first column, "?" lists all. A switch in that
// list turns them off: they may collide with an assistive program.
const help = document.getElementById("shortcuts");
const toggle = document.getElementById("shortcuts-on");
const off = () => localStorage.getItem("shortcuts") === "off";
let leader = 0;

function walk(step) {
  const links = [...document.querySelectorAll("main tbody tr > :first-child a")];
  const next = links.indexOf(document.activeElement) + step;
  links[Math.max(0, Math.min(links.length - 1, next))]?.focus();
}

function shortcut(event) {
  if (Date.now() - leader < 1500) {
    leader = 0;
    const link = document.querySelector(`a[data-key="${CSS.escape(event.key)}"]`);
    if (link) location.assign(link.href);
    return Boolean(link);
  }
  switch (event.key) {
    case "g": leader = Date.now(); return true;
    case "/": document.querySelector("input[type=search]")?.focus(); return true;
    case "j": walk(1); return true;
    case "k": walk(-1); return true;
    case "?": help?.showModal(); return true;
    default: return false;
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || off() || help?.open) return;
  if (event.target.closest?.("input, select, textarea, [contenteditable]")) return;
  if (shortcut(event)) event.preventDefault();
});

if (toggle) toggle.checked = !off();
toggle?.addEventListener("change", () => localStorage.setItem("shortcuts", toggle.checked ? "on" : "off"));
document.querySelectorAll("[data-shortcuts]").forEach((b) => {
  b.hidden = false;
  b.addEventListener("click", () => help?.showModal());
});

prepare(document);
schedule();
