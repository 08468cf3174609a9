// A reader composes a case from radio buttons; its pictures, and the cortex if there is one, follow.

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function start(box) {
  const setup = JSON.parse(box.dataset.setup), sheets = JSON.parse(box.dataset.sheets);
  const { choices, columns, rows, labels } = setup, share = (at, n) => n > 1 ? 100 * at / (n - 1) : 0;
  const pictures = labels.map((label, k) => {
    const shown = el('div', { role: 'img', class: 'lcc-picture' });
    shown.style.backgroundImage = `url(${sheets[k]})`;
    shown.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
    return shown;
  });
  const said = el('output', { class: 'lcc-said', 'aria-live': 'polite' });
  const group = Math.random().toString(36).slice(2); // the same widget may be shown twice
  const inputs = choices.map(([name, options], row) => options.map((option, k) => {
    const made = el('input', { type: 'radio', name: `lcc-${group}-${row}`, value: k });
    made.addEventListener('change', () => show());
    return made;
  }));
  const fields = choices.map(([name, options], row) => el('fieldset', {}, el('legend', {}, name),
    ...options.map((option, k) => el('label', {}, inputs[row][k], el('span', {}, option)))));
  const chosen = () => inputs.map(row => row.findIndex(input => input.checked));
  const show = () => {
    const at = chosen().reduce((sum, k, row) => sum * choices[row][1].length + k, 0);
    const words = chosen().map((k, row) => choices[row][1][k]).join(', ');
    said.textContent = words;
    pictures.forEach((shown, k) => {
      const [column, down] = [at % columns, Math.floor(at / columns)];
      shown.style.backgroundPosition = `${share(column, columns)}% ${share(down, rows)}%`;
      shown.setAttribute('aria-label', `${setup.alt}: ${labels[k]} (${words})`);
    });
    // Of another script, which may start later, when its mesh has come: then it says so.
    const cortex = box.querySelector('.latentcortex-cortex')?.latentcortex;
    if (!cortex) return;
    cortex.frameRow.remove();
    cortex.show(cortex.state.map, at);
  };
  let rest = setup.first;
  for (let row = choices.length - 1; row >= 0; row--) {
    const n = choices[row][1].length;
    inputs[row][rest % n].checked = true;
    rest = Math.floor(rest / n);
  }
  // JupyterLab looks for this on what has the focus first; otherwise its shortcuts take the arrows.
  box.addEventListener('focusin', event => { event.target.dataset.lmSuppressShortcuts = 'true'; });
  box.querySelector('.lcc-live').replaceChildren(
    el('div', { class: 'lcc-choices' }, ...fields), said,
    el('div', { class: 'lcc-pictures' }, ...labels.map((label, k) =>
      el('div', {}, pictures[k], el('div', { class: 'lcc-label' }, label)))));
  box.dataset.live = 'yes';
  box.addEventListener('latentcortex-start', () => show());
  show();
}

// A page may hold several, and the same one twice; each script starts whatever has not started.
for (const box of document.querySelectorAll('.latentcortex-composer:not([data-started])')) {
  box.dataset.started = 'yes';
  start(box);
}
