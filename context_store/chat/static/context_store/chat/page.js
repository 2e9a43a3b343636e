// The page: which chat is in view, the composer, the menus, the keyboard, and the changes that other pages make.

import { ROOT, call, chatIdOf, chatUrl, get, pageUrl } from "./api.js";
import { fork, older, open, refresh, send, state, toEnd } from "./conversation.js";
import { mark, showList } from "./list.js";
import { makeShare, showShares } from "./share.js";
import { $, ask, made, say, toast, words } from "./ui.js";
import { showVersions } from "./versions.js";

const field = $("text");
const narrow = matchMedia("(max-width: 860px)");
const MAX_PICTURE_BYTES = 2_500_000;
let pictures = [];

// --- Which chat is in view

async function show() {
  const { href } = location;
  const chatId = chatIdOf(location.pathname);
  menu(false);
  keepDraft();
  let chat = chatId && (await get(chatUrl(chatId)).catch((error) => error));
  if (location.href !== href) {
    return; // Another one was chosen meanwhile.
  }
  if (chat instanceof Error) {
    toast(chat.status === 404 ? words.gone : chat.message);
    chat = null;
  }
  const messageId = new URLSearchParams(location.search).get("message");
  // Without the message: whoever loads the page anew stays on the branch that was chosen since.
  history.replaceState(null, "", pageUrl(chat?.id));
  await open(chat, messageId).catch((error) => toast(error.message));
  opened();
  listen();
  await read();
  narrow.matches || field.focus({ preventScroll: true });
}

// Show what belongs to the chat around the conversation.
function opened() {
  const { chat } = state;
  const title = chat ? chat.title || words.untitled : words.new;
  $("title").textContent = title;
  document.title = chat ? title : document.body.dataset.title;
  document.querySelectorAll("[data-needs-chat]").forEach((element) => (element.hidden = !chat));
  if (chat) {
    const exported = document.querySelector("[data-do=export]");
    exported.href = chatUrl(chat.id, "export");
    exported.download = `${title}.json`;
    toggled("pin", chat.pinned_at);
    toggled("archive", chat.archived_at);
  }
  mark(chat?.id ?? null);
  takeDraft();
}

function toggled(name, isOn) {
  const button = document.querySelector(`.menu [data-do=${name}]`);
  button.dataset.on ??= button.textContent;
  button.textContent = isOn ? button.dataset.off : button.dataset.on;
}

function go(url) {
  history.pushState(null, "", url);
  return show();
}

let marked = "";
async function read() {
  const { chat } = state;
  const seen = `${chat?.last_message_at} ${chat?.id}`;
  if (chat && !document.hidden && seen !== marked && (chat.last_message_at ?? 0) > (chat.read_at ?? 0)) {
    await call("POST", chatUrl(chat.id, "read"), {}, { keepalive: true });
    marked = seen;
  }
}

// --- The composer. What is typed and not sent yet stays on this device.

const draftKey = () => `context-store-draft:${document.body.dataset.page}:${state.chat?.id ?? ""}`;

function keepDraft() {
  field.value ? localStorage.setItem(draftKey(), field.value) : localStorage.removeItem(draftKey());
}

function takeDraft() {
  field.value = localStorage.getItem(draftKey()) ?? "";
  grow();
}

function grow() {
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight, innerHeight * 0.4)}px`;
}

async function submit() {
  const text = field.value.trim();
  if ((!text && !pictures.length) || state.answer) {
    return;
  }
  const sent = pictures;
  const data = sent.length ? { parts: [...(text ? [{ type: "text", text }] : []), ...sent] } : text;
  localStorage.removeItem(draftKey());
  field.value = "";
  showPictures([]);
  grow();
  try {
    await send(data);
  } catch (error) {
    toast(error.message);
    if (!error.isStored) {
      field.value ||= text;
      keepDraft();
      showPictures(sent);
    }
  }
  refreshIn(0);
}

function addPictures(files) {
  for (const file of files) {
    if (file.size > MAX_PICTURE_BYTES) {
      toast(words.large);
    } else if (file.type.startsWith("image/")) {
      const reader = new FileReader();
      reader.onload = () => showPictures([...pictures, { type: "file", mediaType: file.type, filename: file.name, url: reader.result }]);
      reader.readAsDataURL(file);
    }
  }
}

function showPictures(chosen) {
  pictures = chosen;
  $("pictures").hidden = !pictures.length;
  $("pictures").replaceChildren(
    ...pictures.map((picture) => {
      const entry = made("picture");
      entry.querySelector("img").src = picture.url;
      entry.querySelector("button").onclick = () => showPictures(pictures.filter((other) => other !== picture));
      return entry;
    }),
  );
}

for (const [form, act] of [["composer", submit], ["search", showList]]) {
  $(form).onsubmit = (event) => {
    event.preventDefault();
    act();
  };
}
field.oninput = () => {
  grow();
  keepDraft();
};
field.onkeydown = (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    submit();
  } else if (event.key === "ArrowUp" && !field.value) {
    const mine = [...document.querySelectorAll("article[data-role=user]")].at(-1);
    mine?.querySelector("[data-do=edit]").click();
    event.preventDefault();
  }
};
field.onpaste = (event) => addPictures(event.clipboardData.files);
$("file").onchange = () => {
  addPictures($("file").files);
  $("file").value = "";
};

// --- Buttons

const actions = {
  new: () => go(pageUrl()),
  menu: () => menu(!document.body.classList.contains("with-menu")),
  older,
  down: toEnd,
  stop: () => state.answer?.cancel(),
  versions: showVersions,
  share: showShares,
  "make-share": makeShare,
  fork: () => fork(),
  close: (button) => button.closest("dialog").close(),
  async rename() {
    const title = await ask(words.rename, state.chat.title ?? "");
    if (title !== null) {
      await change({ title: title || null });
    }
  },
  pin: () => change({ pinned: !state.chat.pinned_at }),
  archive: () => change({ archived: !state.chat.archived_at }),
  async delete() {
    const { chat } = state;
    // Away from it first, so that nothing asks for it any more.
    await go(pageUrl());
    await call("DELETE", `${chatUrl(chat.id)}?trash=true`);
    await showList();
    say(words.deleted);
    toast(words.deleted, {
      label: words.undo,
      async action() {
        await call("POST", chatUrl(chat.id, "restore"), {});
        await go(pageUrl(chat.id));
        await showList();
      },
    });
  },
};

async function change(changes) {
  state.chat = await call("PATCH", chatUrl(state.chat.id), changes);
  opened();
  await showList();
}

function menu(isOpen) {
  document.body.classList.toggle("with-menu", isOpen);
  document.querySelector("main [data-do=menu]").setAttribute("aria-expanded", isOpen);
  isOpen && $("q").focus();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-do]");
  for (const details of document.querySelectorAll("details.menu[open]")) {
    details.open = details.contains(event.target) && event.target.closest("summary") !== null;
  }
  const link = event.target.closest("a.chat, a[data-do=new]");
  const said = event.target.closest("[data-say]");
  if (said) {
    field.value = said.dataset.say;
    submit();
  }
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    await go(link.href);
    await showList();
  } else if (button && !link && !button.closest("#log, .toast, .editor, .rows") && actions[button.dataset.do]) {
    try {
      await actions[button.dataset.do](button);
    } catch (error) {
      toast(error.message);
    }
  }
});
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    menu(narrow.matches);
    $("q").select();
  } else if (event.altKey && event.code === "KeyN") {
    event.preventDefault();
    actions.new();
  } else if (event.key === "Escape") {
    const details = document.querySelector("details.menu[open]");
    if (details) {
      details.open = false;
      details.querySelector("summary").focus();
    } else if (document.body.classList.contains("with-menu")) {
      menu(false);
    }
  }
});
addEventListener("popstate", () => show().then(showList));
document.addEventListener("chat:go", (event) => go(pageUrl(event.detail)).then(showList));
document.addEventListener("chat:changed", () => refreshIn(0));
$("scroll").onscroll = () => {
  const { scrollHeight, scrollTop, clientHeight } = $("scroll");
  $("down").hidden = scrollHeight - scrollTop - clientHeight < 300;
};

let typing;
$("q").oninput = () => {
  clearTimeout(typing);
  typing = setTimeout(showList, 200);
};
$("archived").onchange = showList;

// --- Changes, whoever makes them: events tell that there are some. Where there are no events they are looked for.

let sources = [];
let soon;
const refreshIn = (milliseconds) => (soon ??= setTimeout(refreshAll, milliseconds));

async function refreshAll() {
  soon = clearTimeout(soon);
  const { chat } = state;
  try {
    if (chat) {
      const now = await get(chatUrl(chat.id));
      if (state.chat?.id !== chat.id) {
        return;
      }
      state.chat = now;
      opened();
      await refresh();
      await read();
    }
    await showList();
  } catch (error) {
    if (error.status === 404) {
      await go(pageUrl());
      await showList();
    }
  }
  listen();
}

// Follow the list and the chat in view; while an answer is written the list alone, as browsers have six connections.
function listen() {
  const chat = state.answer ? null : state.chat;
  const wanted = document.hidden ? [] : [`${ROOT}events/`, ...(chat ? [chatUrl(chat.id, "events")] : [])];
  const kept = sources.filter(({ path, readyState }) => wanted.includes(path) && readyState !== EventSource.CLOSED);
  sources.forEach((source) => kept.includes(source) || source.close());
  sources = wanted.map((path) => kept.find((source) => source.path === path) ?? changesAt(path));
}

function changesAt(path) {
  const source = Object.assign(new EventSource(path), { path });
  ["open", "chat", "deleted", "resync"].forEach((name) => source.addEventListener(name, () => refreshIn(200)));
  source.onerror = () => source.readyState === EventSource.CLOSED && refreshIn(3000);
  return source;
}

document.addEventListener("visibilitychange", () => {
  keepDraft();
  document.hidden ? listen() : refreshAll();
});

await show();
await showList();
