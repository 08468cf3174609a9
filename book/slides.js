// Turns the pages of a deck. Without it all slides stand below each other.
(() => {
  const frames = [...document.querySelectorAll(".frame")];
  const page = document.getElementById("page");
  let now = 0;

  const button = (text, name, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.setAttribute("aria-label", name);
    made.addEventListener("click", act);
    return made;
  };
  const count = document.createElement("span");
  count.setAttribute("aria-live", "polite");

  function show(k, keepAddress) {
    now = Math.max(0, Math.min(frames.length - 1, k));
    frames.forEach((frame, i) => {
      frame.classList.toggle("now", i === now);
      frame.classList.remove("large");
    });
    count.textContent = ` ${now + 1} / ${frames.length} `;
    if (!keepAddress) history.replaceState(null, "", `#${now + 1}`);
  }

  const describe = () => document.body.classList.toggle("described");
  const steps = {
    ArrowRight: () => show(now + 1), ArrowDown: () => show(now + 1), PageDown: () => show(now + 1), " ": () => show(now + 1),
    ArrowLeft: () => show(now - 1), ArrowUp: () => show(now - 1), PageUp: () => show(now - 1),
    Home: () => show(0), End: () => show(frames.length - 1), d: describe, D: describe,
    Escape: () => show(now),
  };
  document.addEventListener("keydown", (event) => {
    // A slider or a cortex on the slide has arrow keys of its own, and a button its space bar.
    const own = event.target.closest("input, select, textarea, canvas, [role=slider], [contenteditable]");
    if (own || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === " " && event.target.closest("button, summary")) return;
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    step();
  });
  frames.forEach((frame) => {
    const parts = frame.querySelector(".parts");
    if (parts) parts.addEventListener("click", () => frame.classList.toggle("large"));
  });
  window.addEventListener("hashchange", () => show(Number(location.hash.slice(1)) - 1, true));

  if (!frames.length) return;
  page.append(button("‹", "Previous slide", () => show(now - 1)), count,
    button("›", "Next slide", () => show(now + 1)), button("D", "Describe the figure", describe));
  document.body.classList.add("paged");
  show((Number(location.hash.slice(1)) || 1) - 1);
})();
