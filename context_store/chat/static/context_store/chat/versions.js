// The dialog of branches and checkpoints, and the graph of all messages of a chat.

import { call, chatUrl, pages } from "./api.js";
import { refresh, state, toEnd } from "./conversation.js";
import { $, element, made, showTime, toast, words } from "./ui.js";

const SVG = "http://www.w3.org/2000/svg";
const ROW = 28;
const LANE = 18;

export async function showVersions() {
  const [branches, checkpoints, nodes] = await Promise.all([
    pages(chatUrl(state.chat.id, "branches")),
    pages(chatUrl(state.chat.id, "checkpoints")),
    pages(chatUrl(state.chat.id, "graph"), "nodes"),
  ]);
  $("branches").replaceChildren(...branches.reverse().map(branchItem));
  $("checkpoints").replaceChildren(...checkpoints.map(checkpointItem));
  $("no-checkpoints").hidden = checkpoints.length > 0;
  const active = branches.find((branch) => branch.is_active);
  drawGraph(nodes, active?.head_message_id, new Map(checkpoints.map(({ message_id, name }) => [message_id, name])));
  $("versions").open || $("versions").showModal();
}

// Do what a button says, close the dialog and show the conversation as it is then.
async function go(method, url) {
  try {
    await call(method, url, {});
    $("versions").close();
    await refresh();
    toEnd();
  } catch (error) {
    toast(error.message);
  }
}

function branchItem(branch) {
  const entry = made("branch");
  const button = entry.querySelector("button");
  button.textContent = branch.name;
  button.onclick = () => go("POST", chatUrl(state.chat.id, "branches", branch.name, "activate"));
  entry.querySelector(".count").textContent = `${branch.message_count} ${words.messages}`;
  entry.querySelector(".chip").hidden = !branch.is_active;
  return entry;
}

function checkpointItem(checkpoint) {
  const entry = made("checkpoint");
  const [restore, drop] = entry.querySelectorAll("button");
  restore.textContent = checkpoint.name;
  restore.onclick = () => go("POST", chatUrl(state.chat.id, "checkpoints", checkpoint.name, "restore"));
  showTime(entry.querySelector("time"), checkpoint.created_at);
  drop.onclick = async () => {
    await call("DELETE", chatUrl(state.chat.id, "checkpoints", checkpoint.name)).catch((error) => toast(error.message));
    await showVersions();
  };
  return entry;
}

// --- The graph: each message in a row below its parent; the active branch in the first lane, each fork in one of its own.

function drawGraph(nodes, head, names) {
  const byId = new Map(nodes.map((node) => [node.id, { ...node, children: [] }]));
  const roots = [];
  for (const node of byId.values()) {
    (byId.get(node.parent_id)?.children ?? roots).push(node);
  }
  const active = new Set();
  for (let node = byId.get(head); node; node = byId.get(node.parent_id)) {
    active.add(node.id);
  }
  const rows = placed(roots, active);
  const width = (Math.max(0, ...rows.map((row) => row.lane)) + 1) * LANE + 6;
  const picture = svg("svg", { width, height: rows.length * ROW, "aria-hidden": "true" });
  picture.append(...rows.filter((row) => byId.has(row.parent_id)).map((row) => line(row, byId.get(row.parent_id), active)));
  picture.append(...rows.map((row) => svg("circle", { cx: x(row), cy: y(row), r: 5, class: active.has(row.id) ? "active" : "" })));
  const list = document.createElement("ol");
  list.append(...rows.map((row) => rowItem(row, active, names)));
  $("graph").replaceChildren(picture, list);
}

// Give each message its row and lane, depth first without recursion: chains are long.
function placed(roots, active) {
  const rows = [];
  let lanes = 0;
  const first = (nodes) => [...nodes].sort((a, b) => active.has(b.id) - active.has(a.id));
  const waiting = first(roots).reverse().map((node, index, all) => ({ node, lane: index === all.length - 1 ? 0 : null }));
  while (waiting.length) {
    const { node, lane } = waiting.pop();
    node.lane = lane ?? ++lanes;
    node.row = rows.length;
    rows.push(node);
    const [next, ...others] = first(node.children);
    waiting.push(...others.reverse().map((child) => ({ node: child, lane: null })));
    next && waiting.push({ node: next, lane: node.lane });
  }
  return rows;
}

const x = (node) => node.lane * LANE + 9;
const y = (node) => node.row * ROW + ROW / 2;

function svg(name, attributes) {
  const shape = document.createElementNS(SVG, name);
  Object.entries(attributes).forEach(([key, value]) => shape.setAttribute(key, value));
  return shape;
}

function line(node, parent, active) {
  const d = node.lane === parent.lane ? `M${x(parent)} ${y(parent)}V${y(node)}` : `M${x(parent)} ${y(parent)}V${y(node) - ROW / 2}Q${x(parent)} ${y(node)} ${x(node)} ${y(node)}`;
  return svg("path", { d, class: active.has(node.id) ? "active" : "" });
}

function rowItem(node, active, names) {
  const item = document.createElement("li");
  const button = element("button", "", "link");
  button.dataset.role = node.role;
  button.dir = "auto";
  button.append(element("b", words[node.role] || node.role), ` ${node.content}${node.is_cut ? "…" : ""}`);
  button.onclick = () => go("POST", chatUrl(state.chat.id, "messages", node.id, "activate"));
  item.append(button, ...(names.has(node.id) ? [element("span", names.get(node.id), "chip")] : []));
  item.className = active.has(node.id) ? "active" : "";
  return item;
}
