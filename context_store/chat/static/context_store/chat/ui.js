// Pieces of the page: templates, notices, questions, times, and HTML that changes in place.

export const $ = (id) => document.getElementById(id);
export const words = $("words").dataset;

// Return a copy of a <template>'s element.
export const made = (name) => $(`t-${name}`).content.firstElementChild.cloneNode(true);

export function element(name, text, className = "") {
  return Object.assign(document.createElement(name), { textContent: text, className });
}

const language = document.documentElement.lang;
const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(language, { day: "numeric", month: "short" });
const whole = new Intl.DateTimeFormat(language, { dateStyle: "full", timeStyle: "medium" });

export function showTime(element, milliseconds) {
  const time = new Date(milliseconds);
  element.textContent = (Date.now() - time < 86_400_000 ? clock : day).format(time);
  element.dateTime = time.toISOString();
  element.title = whole.format(time);
}

// Tell it to screen readers.
export const say = (text) => ($("status").textContent = text);

// Show a notice, with a button where there is something to do about it. Return what closes it.
export function toast(text, { action, label, seconds = 8 } = {}) {
  const notice = made("toast");
  notice.querySelector("span").textContent = text;
  const button = notice.querySelector(".link");
  const close = () => notice.remove();
  if (action) {
    button.textContent = label;
    button.hidden = false;
    button.onclick = () => {
      close();
      action();
    };
  }
  notice.querySelector("[data-do=dismiss]").onclick = close;
  $("toasts").append(notice);
  setTimeout(close, seconds * 1000);
  return close;
}

// Ask for a line of text; null if the person cancels.
export function ask(label, value = "") {
  const dialog = $("ask");
  $("ask-label").textContent = label;
  $("ask-text").value = value;
  dialog.returnValue = "";
  dialog.showModal();
  $("ask-text").select();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "ok" ? $("ask-text").value.trim() : null);
  });
}

export async function copy(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

// Show a search snippet: escaped text with <mark>. Nothing but the marks is taken over.
export function showSnippet(element, html) {
  const parsed = new DOMParser().parseFromString(html, "text/html").body;
  element.replaceChildren(
    ...Array.from(parsed.childNodes, (node) => {
      const shown = node.nodeName === "MARK" ? document.createElement("mark") : document.createTextNode("");
      shown.textContent = node.textContent;
      return shown;
    }),
  );
}

// Give the element the HTML that the server has rendered, and leave alone what is as it was: what is folded open, what
// is selected and what is scrolled stay so while an answer grows.
export function patch(element, html) {
  const holder = document.createElement("template");
  holder.innerHTML = html;
  holder.content.querySelectorAll("pre").forEach((pre) => pre.prepend($("t-code").content.cloneNode(true)));
  patchNodes(element, holder.content);
}

function patchNodes(old, fresh) {
  const before = Array.from(old.childNodes);
  const after = Array.from(fresh.childNodes);
  after.forEach((node, index) => {
    const was = before[index];
    if (was?.nodeName === "DETAILS" && node.nodeName === "DETAILS") {
      node.open = was.open;
    }
    if (!was) {
      old.append(node);
    } else if (!was.isEqualNode(node)) {
      const isAlike = was.nodeType === Node.ELEMENT_NODE && was.cloneNode().isEqualNode(node.cloneNode());
      isAlike ? patchNodes(was, node) : was.replaceWith(node);
    }
  });
  before.slice(after.length).forEach((node) => node.remove());
}
