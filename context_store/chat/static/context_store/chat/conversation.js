// The conversation in view: its messages, their versions, and the answer that is being written.

import { call, chatUrl, get, newId, pageUrl } from "./api.js";
import { Answer } from "./stream.js";
import { $, ask, copy, made, patch, say, showTime, toast, words } from "./ui.js";

const PAGE = 50;
const scroller = $("scroll");

// The chat in view (null for a new one), its messages, and the answer that is being followed.
export const state = { chat: null, messages: [], older: null, answer: null };

const isAtEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 120;
export const toEnd = () => scroller.scrollTo({ top: scroller.scrollHeight });
const articleOf = (id) => $("log").querySelector(`[data-id="${CSS.escape(id)}"]`);

// Show a chat from its end, or around a message of it.
export async function open(chat, messageId) {
  leave();
  Object.assign(state, { chat, messages: [], older: null });
  $("log").replaceChildren();
  await refresh();
  if (messageId && !(await reveal(messageId))) {
    // It lies on another branch.
    await call("POST", chatUrl(chat.id, "messages", messageId, "activate"), {});
    await refresh();
    await reveal(messageId);
  }
  const article = messageId && articleOf(messageId);
  article ? focus(article) : toEnd();
}

// Bring a message of the branch into view, unless it lies thousands above.
async function reveal(id) {
  for (let tries = 0; state.older && !articleOf(id) && tries < 20; tries += 1) {
    await older();
  }
  return articleOf(id);
}

// Leave the chat: what is being written goes on without us.
export function leave() {
  state.answer?.leave();
  state.answer = null;
  working(false);
}

function focus(article) {
  article.tabIndex = -1;
  article.focus({ preventScroll: true });
  article.scrollIntoView({ block: "center" });
}

// Ask for the messages in view anew, show what has changed, and follow the answer that is being written.
let asked = 0;
export async function refresh() {
  const { chat } = state;
  const number = ++asked;
  if (chat) {
    const limit = Math.min(200, Math.max(PAGE, state.messages.length));
    const [answer, streams] = await Promise.all([
      get(pageUrl(chat.id, "messages"), { limit, siblings: true }),
      call("GET", `${chatUrl(chat.id, "streams")}?status=queued&status=running`),
    ]);
    if (number !== asked || state.chat?.id !== chat.id) {
      return;
    }
    // A page may be shorter than what is in view: what lies above it stays.
    const above = Math.max(0, state.messages.findIndex(({ id }) => id === answer.results[0]?.id));
    Object.assign(state, { messages: [...state.messages.slice(0, above), ...answer.results], older: above ? state.older : answer.next });
    show();
    follow(streams.results);
  } else {
    show();
  }
}

export async function older() {
  const { chat } = state;
  const answer = await call("GET", state.older);
  if (state.chat?.id === chat.id) {
    const height = scroller.scrollHeight - scroller.scrollTop;
    Object.assign(state, { messages: [...answer.results, ...state.messages], older: answer.next });
    show();
    scroller.scrollTop = scroller.scrollHeight - height;
  }
}

function show() {
  const sticks = isAtEnd();
  const articles = state.messages.map((message, index) => {
    const article = articleOf(message.id) || newArticle(message);
    fill(article, message, state.messages[index - 1], state.messages[index + 1]);
    return article;
  });
  const log = $("log");
  articles.forEach((article, index) => log.children[index] === article || log.insertBefore(article, log.children[index] ?? null));
  while (log.children.length > articles.length) {
    log.lastElementChild.remove();
  }
  $("older").firstElementChild.hidden = !state.older;
  $("empty").hidden = articles.length > 0;
  sticks && toEnd();
}

function newArticle(message) {
  const article = made("message");
  article.dataset.id = message.id;
  article.dataset.role = message.name;
  article.querySelector(".role").textContent = words[message.name] || message.name;
  return article;
}

const isAnswer = (message) => ["assistant", "tool"].includes(message?.name);

function fill(article, message, previous, next) {
  const isWritten = state.answer?.article === article;
  if (!isWritten && article.html !== message.html) {
    article.html = message.html;
    patch(article.querySelector(".body"), message.html);
  }
  article.classList.toggle("follows", isAnswer(message) && isAnswer(previous));
  const problem = article.querySelector(".problem");
  const status = message.data?.metadata?.status;
  // An answer of nothing, which nobody writes any more, has failed as well.
  const isLost = message.name === "assistant" && !message.html.trim();
  problem.hidden = isWritten || !(isLost || ["failed", "cancelled"].includes(status));
  problem.textContent = status === "cancelled" ? words.stopped : words.failed;
  showTime(article.querySelector(".tools time"), message.created_at);
  // The last message of an answer has the button for all of it, a question that has none yet its own.
  article.querySelector("[data-do=regenerate]").hidden = isWritten || !(isAnswer(message) ? !isAnswer(next) : message.name === "user" && !next);
  article.querySelector("[data-do=edit]").hidden = message.name === "tool";
  const { count, number, previous_id, next_id } = message.siblings ?? {};
  article.querySelector(".versions").hidden = !(count > 1);
  article.querySelector(".number").textContent = `${number} / ${count}`;
  article.querySelector("[data-do=previous]").disabled = !previous_id;
  article.querySelector("[data-do=next]").disabled = !next_id;
}

// --- Answers

function working(isWorking) {
  $("stop").hidden = !isWorking;
  $("send").hidden = isWorking;
  $("log").setAttribute("aria-busy", isWorking);
}

// Streams that have ended: a list of streams that was asked for before does not know it.
const ended = new Set();

// Follow the newest of the answers that are being written, if it is one of the messages in view.
function follow(streams) {
  const stream = streams.find(({ id, message_id }) => !ended.has(id) && articleOf(message_id));
  if (state.answer && (!stream || state.answer.stream.id === stream.id)) {
    return;
  }
  leave();
  if (!stream) {
    return;
  }
  const article = articleOf(stream.message_id);
  article.classList.add("writing");
  const { chat } = state;
  state.answer = new Answer(chat.id, stream, {
    show(html) {
      const sticks = isAtEnd();
      patch(article.querySelector(".body"), html);
      article.html = html;
      sticks && toEnd();
    },
    async end({ status }) {
      state.answer = null;
      ended.add(stream.id);
      article.classList.remove("writing");
      working(false);
      say(status === "completed" ? words.done : status === "cancelled" ? words.stopped : words.failed);
      await refresh();
      document.dispatchEvent(new CustomEvent("chat:changed"));
    },
    lost() {
      article.classList.remove("writing");
      leave();
      document.dispatchEvent(new CustomEvent("chat:changed"));
    },
  });
  state.answer.article = article;
  article.querySelector(".problem").hidden = true;
  working(true);
  say(words.writing);
}

// Have the question at the head of a chat answered, whichever is in view by now.
export async function answer({ id }) {
  await call("POST", pageUrl(id, "answer"), {});
  await refresh();
  state.chat?.id === id && toEnd();
}

// Store a question and have it answered. Where there is no chat yet, it begins with the question.
export async function send(data) {
  if (!state.chat) {
    state.chat = await call("PUT", chatUrl(newId()), {});
    history.pushState(null, "", pageUrl(state.chat.id));
  }
  const { chat } = state;
  await call("POST", chatUrl(chat.id, "messages"), { messages: [{ id: newId(), name: "user", data }] });
  const failed = (error) => Promise.reject(Object.assign(error, { isStored: true }));
  await refresh().then(toEnd).then(() => answer(chat)).catch(failed);
}

// --- What a message's buttons do

const textOf = (data) => {
  const content = typeof data === "string" ? data : (data?.content ?? data?.parts ?? data?.text ?? "");
  return typeof content === "string" ? content : content.map((part) => part.text ?? "").join("");
};

// Return the data with another text; pictures and the like stay.
function withText(data, text) {
  for (const key of ["content", "parts"]) {
    if (Array.isArray(data?.[key])) {
      const rest = data[key].filter((part) => !["text", "reasoning"].includes(part.type));
      return { ...data, [key]: [{ type: "text", text }, ...rest] };
    }
  }
  return data?.content ? { ...data, content: text } : text;
}

const actions = {
  previous: (message) => flip(message, message.siblings.previous_id),
  next: (message) => flip(message, message.siblings.next_id),
  async copy(message, article) {
    await copy(textOf(message.data) || article.querySelector(".body").innerText);
    toast(words.copied, { seconds: 2 });
  },
  async regenerate(message) {
    const { chat } = state;
    leave();
    let index = state.messages.indexOf(message);
    while (isAnswer(state.messages[index - 1])) {
      index -= 1;
    }
    if (isAnswer(message)) {
      await call("POST", chatUrl(chat.id, "messages", state.messages[index].id, "regenerate"), {});
    }
    await answer(chat);
  },
  async checkpoint(message) {
    const name = await ask(words.checkpoint);
    if (name) {
      await call("PUT", chatUrl(state.chat.id, "checkpoints", name), { message_id: message.id });
      toast(words.made, { seconds: 3 });
    }
  },
  "fork-here": (message) => fork(message.id),
  edit,
};

async function flip(message, otherId) {
  const place = articleOf(message.id).getBoundingClientRect().top;
  leave();
  await call("POST", chatUrl(state.chat.id, "messages", otherId, "activate"), {});
  await refresh();
  const article = (await reveal(otherId)) ?? $("log").lastElementChild;
  // What was being read stays where it was.
  scroller.scrollTop += article.getBoundingClientRect().top - place;
  article.querySelector(".versions button:enabled")?.focus({ preventScroll: true });
  say(article.querySelector(".number").textContent);
}

export async function fork(messageId) {
  const copied = await call("POST", chatUrl(state.chat.id, "fork"), messageId ? { head_message_id: messageId } : {});
  document.dispatchEvent(new CustomEvent("chat:go", { detail: copied.id }));
  toast(words.forked, { seconds: 4 });
}

function edit(message, article) {
  if (article.querySelector(".editor")) {
    return;
  }
  const editor = made("editor");
  const field = editor.querySelector("textarea");
  const id = newId();
  field.value = textOf(message.data);
  const close = () => {
    editor.remove();
    article.classList.remove("edited");
    article.querySelector("[data-do=edit]").focus();
  };
  editor.querySelector("[data-do=cancel]").onclick = close;
  editor.onkeydown = (event) => {
    event.key === "Escape" && close();
    event.key === "Enter" && (event.ctrlKey || event.metaKey) && editor.requestSubmit();
  };
  editor.onsubmit = async (event) => {
    event.preventDefault();
    const { chat } = state;
    try {
      leave();
      const data = withText(message.data, field.value);
      await call("POST", chatUrl(chat.id, "messages", message.id, "edit"), { data, id });
      close();
      await refresh();
      await (message.name === "user" && answer(chat));
    } catch (error) {
      toast(error.message);
    }
  };
  article.classList.add("edited");
  article.querySelector(".body").after(editor);
  field.focus();
}

$("log").addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  const article = event.target.closest("article");
  const message = state.messages.find(({ id }) => id === article?.dataset.id);
  try {
    if (button?.classList.contains("copy-code")) {
      await copy(button.nextElementSibling.textContent);
      toast(words.copied, { seconds: 2 });
    } else if (message) {
      await actions[button?.dataset.do]?.(message, article);
    }
  } catch (error) {
    toast(error.message);
  }
});
