// The dialog of links that show the conversation to others.

import { call, chatUrl, get, sharedUrl } from "./api.js";
import { state } from "./conversation.js";
import { $, copy, made, showTime } from "./ui.js";

export async function showShares() {
  $("made-share").hidden = true;
  await list();
  $("share").showModal();
}

async function list() {
  const url = chatUrl(state.chat.id, "share");
  const { results } = await get(url);
  const entries = results.filter((link) => !link.revoked_at && (link.expires_at ?? Infinity) > Date.now()).map((link) => {
    const entry = made("share");
    showTime(entry.querySelector("time"), link.created_at);
    entry.querySelector("button").onclick = async () => {
      await call("DELETE", `${url}?share_id=${encodeURIComponent(link.id)}`);
      $("made-share").hidden ||= $("share-link").dataset.id === link.id;
      await list();
    };
    return entry;
  });
  $("shares").replaceChildren(...entries);
  $("no-shares").hidden = entries.length > 0;
}

// The address is told this once: the store keeps no token.
export async function makeShare() {
  const link = await call("POST", chatUrl(state.chat.id, "share"), {});
  const field = $("share-link");
  Object.assign(field, { value: sharedUrl(link.token) }).dataset.id = link.id;
  $("made-share").hidden = false;
  await list();
  field.select();
  await copy(field.value).catch(() => null);
}
