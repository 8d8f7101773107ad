// Keeps a page up to date: when something has happened it asks for the page again and puts the parts that changed
// into place. Nothing is lost without it: the page is whole as it comes, and can be loaded again.
"use strict";
(() => {
  // A step that is linked to opens.
  const open = () => {
    const step = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (step && step.tagName === "DETAILS") step.open = true;
  };
  addEventListener("hashchange", open);
  open();
  const source = document.body.dataset.live;
  const word = document.getElementById("live");
  if (!source || !window.EventSource) return;
  let asking = false, again = false, timer = 0;
  const say = (text) => { if (word && word.textContent !== text) word.textContent = text; };
  const busy = (part) => {
    const at = document.activeElement;
    if (!at || !part.contains(at)) return false;
    return at.matches("input, textarea, select") || at.matches("button");
  };
  const swap = (fresh) => {
    if (fresh.title && document.title !== fresh.title) document.title = fresh.title;
    for (const part of document.querySelectorAll("[data-part]")) {
      const next = fresh.getElementById(part.id);
      if (!next || part.outerHTML === next.outerHTML || busy(part)) continue;
      // What a person has opened stays open, what has the focus keeps it.
      for (const open of part.querySelectorAll("details[open][id]")) {
        const same = next.querySelector("#" + CSS.escape(open.id));
        if (same) same.open = true;
      }
      const focus = part.contains(document.activeElement) && document.activeElement;
      const href = focus && focus.getAttribute("href");
      const holder = focus && focus.closest("[id]");
      for (const box of part.querySelectorAll(".scroll")) {
        const at = [...part.querySelectorAll(".scroll")].indexOf(box);
        const same = next.querySelectorAll(".scroll")[at];
        if (same && box.scrollLeft) same.dataset.left = box.scrollLeft;
      }
      const placed = document.importNode(next, true);
      part.replaceWith(placed);
      for (const box of placed.querySelectorAll("[data-left]")) box.scrollLeft = Number(box.dataset.left);
      if (focus) {
        const found = (href && placed.querySelector(`a[href="${CSS.escape(href)}"]`)) ||
          (holder && holder.id && placed.querySelector("#" + CSS.escape(holder.id) + " summary"));
        if (found) found.focus({ preventScroll: true });
      }
    }
  };
  const refresh = async () => {
    if (asking) { again = true; return; }
    asking = true;
    try {
      const answer = await fetch(location.pathname + location.search, { headers: { "X-Part": "1" }, credentials: "same-origin" });
      if (answer.ok) swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch { /* The next event asks again. */ }
    asking = false;
    if (again) { again = false; soon(); }
  };
  const soon = () => { clearTimeout(timer); timer = setTimeout(refresh, 150); };
  const stream = new EventSource(source);
  stream.addEventListener("open", () => { say("live"); soon(); });
  stream.addEventListener("changed", soon);
  stream.addEventListener("error", () => say("not connected, trying again"));
  // Elapsed times move on while nothing happens.
  setInterval(() => { if (!document.hidden) soon(); }, 10000);
})();
