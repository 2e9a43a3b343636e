// The list of chats at the side, and the search in all of them.

import { API, ROOT, chatUrl, get, pageUrl } from "./api.js";
import { $, element, made, showSnippet, showTime, words } from "./ui.js";

const PAGE = 30;
let shown = PAGE;
let current = null;
let known = new Map();

export function mark(chatId) {
  current = chatId;
  for (const link of $("chats").querySelectorAll("a.chat")) {
    link.dataset.chat === current ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
}

// Ask for the list anew. Requests that a later one has overtaken show nothing.
let asked = 0;
let rendered = "";
export async function showList() {
  const number = ++asked;
  const query = $("q").value.trim();
  const lists = query ? await found(query) : await newest();
  const html = lists.map(({ outerHTML }) => outerHTML).join("");
  if (number === asked && html !== rendered) {
    rendered = html;
    const hadFocus = $("chats").contains(document.activeElement) && document.activeElement.dataset.chat;
    $("chats").replaceChildren(...lists);
    mark(current);
    hadFocus && $("chats").querySelector(`a[data-chat="${CSS.escape(hadFocus)}"]`)?.focus({ preventScroll: true });
  }
}

async function newest() {
  const query = { order: "-last_message_at", preview: true, limit: shown };
  const archived = $("archived").checked;
  const [pinned, rest] = await Promise.all([
    archived ? { results: [] } : get(API, { ...query, pinned: true, archived: false }),
    get(API, { ...query, archived, ...(archived ? {} : { pinned: false }) }),
  ]);
  known = new Map([...pinned.results, ...rest.results].map((chat) => [chat.id, chat]));
  const lists = [
    ...(pinned.results.length ? group(words.pinned, pinned.results.map(item)) : []),
    ...group(pinned.results.length && rest.results.length ? words.recent : "", rest.results.map(item)),
  ];
  known.size || lists.push(note(words.none));
  if (rest.next) {
    const more = element("button", words.more, "button");
    more.onclick = () => {
      shown += PAGE;
      showList();
    };
    lists.push(more);
  }
  return lists;
}

function group(name, items) {
  const list = document.createElement("ul");
  list.append(...items);
  return name ? [element("h2", name), list] : [list];
}

const note = (text) => element("p", text, "quiet");

function item(chat) {
  const entry = made("chat");
  const link = entry.querySelector("a");
  link.href = pageUrl(chat.id);
  link.dataset.chat = chat.id;
  entry.querySelector(".chat-title").textContent = chat.title || words.untitled;
  entry.querySelector(".preview").textContent = chat.preview || "";
  showTime(entry.querySelector("time"), chat.last_message_at ?? chat.created_at);
  entry.querySelector(".pinned").toggleAttribute("hidden", !chat.pinned_at);
  const isUnread = chat.unread_count > 0 && chat.id !== current;
  entry.querySelector(".unread").hidden = !isUnread;
  entry.querySelector(".count").textContent = isUnread ? chat.unread_count : "";
  return entry;
}

// Chats whose titles begin so, then messages with the words.
async function found(query) {
  const [chats, hits] = await Promise.all([
    get(API, { title_prefix: query, preview: true, limit: 5 }),
    get(`${ROOT}search/`, { q: query, limit: 30 }),
  ]);
  const missing = [...new Set(hits.results.map((hit) => hit.message.chat_id))].filter((id) => !known.has(id));
  for (const chat of await Promise.all(missing.map((id) => get(chatUrl(id)).catch(() => null)))) {
    chat && known.set(chat.id, chat);
  }
  const items = [...chats.results.map(item), ...hits.results.map(hitItem)];
  return items.length ? group(words.found, items) : [note(words.nothing)];
}

function hitItem(hit) {
  const entry = made("hit");
  const link = entry.querySelector("a");
  link.href = `${pageUrl(hit.message.chat_id)}?message=${encodeURIComponent(hit.message.id)}`;
  entry.querySelector(".chat-title").textContent = known.get(hit.message.chat_id)?.title || words.untitled;
  showSnippet(entry.querySelector(".snippet"), hit.snippet);
  return entry;
}
