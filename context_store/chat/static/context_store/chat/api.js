// The REST API of the store, and the few addresses of the page itself.

const { api, page, csrf, csrfHeader } = document.body.dataset;

export const API = api;
export const ROOT = api.replace(/chats\/$/, "");

// Ids in paths: "~" and "/" as RFC 6901 has them, the rest percent-encoded.
const encode = (id) => encodeURIComponent(id.replaceAll("~", "~0").replaceAll("/", "~1"));

// Return the address of what belongs to a chat in the API: chatUrl("tea", "messages", "m1", "edit").
export const chatUrl = (chatId, ...path) => `${api}${[chatId, ...path].map(encode).join("/")}/`;
export const pageUrl = (chatId, ...path) => (chatId ? `${page}c/${[chatId, ...path].map(encode).join("/")}/` : page);
export const renderUrl = `${page}render/`;
export const sharedUrl = (token) => new URL(`${page}s/${encodeURIComponent(token)}/`, location.href).href;

// Return the id of the chat that the page's address names, or null.
export function chatIdOf(path) {
  const name = path.startsWith(`${page}c/`) ? path.slice(page.length + 2).split("/")[0] : "";
  return name ? decodeURIComponent(name).replaceAll("~1", "/").replaceAll("~0", "~") : null;
}

// Addresses outside of HTTPS and localhost have no crypto.randomUUID.
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Problem extends Error {
  constructor(status, body) {
    super(body?.detail || document.getElementById("words").dataset.offline);
    this.status = status;
    this.body = body;
  }
}

// What the answer to the last write said: requests that send it back see that write, wherever they read.
const REVISION = "Context-Store-Revision";
let written = null;

// Send a request and return the JSON of its answer; throw a Problem for what is refused.
export async function call(method, url, body, options = {}) {
  let response;
  try {
    response = await fetch(url, {
      method,
      cache: "no-store",
      credentials: "same-origin",
      headers: { Accept: "application/json", "Content-Type": "application/json", [csrfHeader]: csrf, ...(written && { [REVISION]: written }) },
      body: body === undefined ? undefined : JSON.stringify(body),
      ...options,
    });
  } catch {
    throw new Problem(0, null);
  }
  written = response.headers.get(REVISION) ?? written;
  const isJson = (response.headers.get("Content-Type") || "").includes("json");
  const answer = isJson ? await response.json() : null;
  if (!response.ok) {
    throw new Problem(response.status, answer);
  }
  return answer;
}

export const get = (url, query = {}) => {
  const text = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined && value !== null));
  return call("GET", `${url}${text.size ? `?${text}` : ""}`);
};

// Return the items of all pages, of the first ones where there are very many.
export async function pages(url, name = "results") {
  const items = [];
  for (let next = url; next && items.length < 1000; ) {
    const answer = await call("GET", next);
    items.push(...answer[name]);
    next = answer.next;
  }
  return items;
}
