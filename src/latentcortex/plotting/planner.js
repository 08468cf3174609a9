// A reader plans a study with sliders: chances that were simulated beforehand, and a curve of them.

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 360, HEIGHT = 200, LEFT = 44, RIGHT = 12, TOP = 12, BOTTOM = 42;

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function svg(tag, attributes = {}, text = '') {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

const percent = share => {
  const whole = Math.round(100 * share);
  if (whole === 0 && share > 0) return 'less than 1 %';
  if (whole === 100 && share < 1) return 'more than 99 %';
  return `${whole} %`;
};

function start(box) {
  const setup = JSON.parse(box.dataset.setup), { factors, findings, along, cells, hours } = setup;
  const state = { finding: setup.finding, at: [...setup.first] };
  const group = Math.random().toString(36).slice(2); // the same widget may be shown twice
  const said = el('output', { class: 'lcp-said', 'aria-live': 'polite' });
  const chart = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img' });
  const cell = at => cells[state.finding][at.reduce((sum, k, i) => sum * factors[i].labels.length + k, 0)];

  const choices = findings.map((one, k) => {
    const input = el('input', { type: 'radio', name: `lcp-${group}`, value: k });
    input.checked = k === state.finding;
    input.addEventListener('change', () => { state.finding = k; show(); });
    return el('label', {}, input, one.label);
  });
  const rows = factors.map(({ name, labels }, i) => {
    const id = `lcp-${group}-${i}`, shown = el('output', { for: id });
    const input = el('input', { type: 'range', id, min: 0, max: labels.length - 1, step: 1, autocomplete: 'off' });
    input.value = state.at[i];
    const write = () => {
      input.setAttribute('aria-valuetext', labels[input.value]);
      shown.textContent = labels[input.value];
    };
    input.addEventListener('input', () => { state.at[i] = +input.value; write(); show(); });
    write();
    return el('div', { class: 'lcp-row' }, el('label', { for: id }, name), input, shown);
  });

  function sentences() {
    const one = findings[state.finding], now = cell(state.at);
    const asked = one.planted ? now.right : now.found, lines = [el('p', {}, el('strong', {},
      one.planted ? `Found and right: ${percent(asked)} of the studies.` : `False alarms: ${percent(asked)} of the studies.`))];
    const ends = `${Math.round(100 * now.low)} and ${Math.round(100 * now.high)} %`;
    lines.push(el('p', {}, `The simulation leaves this chance between ${ends} (95 % interval).`));
    if (one.planted) {
      const wrong = now.found > 0 ? (now.found - now.right) / now.found : 0;
      lines.push(el('p', {}, now.found > 0
        ? `Found with any sign: ${percent(now.found)}. Of these, ${percent(wrong)} have the wrong sign.`
        : 'No study found anything.'));
      lines.push(el('p', {}, now.exaggeration === null
        ? 'Too few studies found it to say how much they exaggerate.'
        : Math.abs(now.exaggeration - 1) < 0.05 ? 'An estimate that was found is about as large as the average estimate.'
        : `An estimate that was found is ${now.exaggeration.toFixed(2)} times as large as the average estimate.`));
    } else {
      lines.push(el('p', {}, 'Nothing is planted. A test that keeps its promise is wrong in 5 % of the studies.'));
    }
    const [n, each] = [+factors[setup.subjects].labels[state.at[setup.subjects]], hours[state.at[along]]];
    const total = +(n * each).toFixed(1), subjects = n === 1 ? '1 subject' : `${n} subjects`;
    const lasting = total === 1 ? '1 hour' : `${total} hours`;
    lines.push(el('p', {}, `Cost: ${subjects}, ${lasting} of scanning in all, without breaks and set-up.`));
    return lines;
  }

  function draw() {
    const { labels, name } = factors[along], n = labels.length, planted = findings[state.finding].planted;
    const x = k => LEFT + 8 + k * (WIDTH - LEFT - RIGHT - 16) / Math.max(1, n - 1);
    const y = share => TOP + (1 - share) * (HEIGHT - TOP - BOTTOM);
    const points = labels.map((_, k) => cell(state.at.map((at, i) => i === along ? k : at)));
    const value = one => planted ? one.right : one.found;
    const path = of => of.map(([a, b]) => `${a.toFixed(1)},${b.toFixed(1)}`).join(' ');
    const parts = [svg('path', { class: 'lcp-axis', d: `M${LEFT},${TOP}V${y(0)}H${WIDTH - RIGHT}` })];
    for (const share of [0, 0.5, 1]) {
      parts.push(svg('text', { x: LEFT - 6, y: y(share) + 4, 'text-anchor': 'end' }, `${100 * share} %`));
    }
    labels.forEach((_, k) => parts.push(svg('text', { x: x(k), y: y(0) + 16, 'text-anchor': 'middle' }, setup.ticks[k])));
    parts.push(svg('text', { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 6, 'text-anchor': 'middle' }, name));
    const band = [...points.map((one, k) => [x(k), y(one.high)]), ...points.map((one, k) => [x(k), y(one.low)]).reverse()];
    parts.push(svg('polygon', { class: 'lcp-band', points: path(band) }));
    parts.push(svg('polyline', { class: 'lcp-line', points: path(points.map((one, k) => [x(k), y(value(one))])) }));
    points.forEach((one, k) => parts.push(svg('circle', { class: 'lcp-point', cx: x(k), cy: y(value(one)), r: 3.5 })));
    const here = state.at[along];
    parts.push(svg('circle', { class: 'lcp-here', cx: x(here), cy: y(value(points[here])), r: 7 }));
    chart.replaceChildren(...parts);
    const told = points.map((one, k) => `${labels[k]}: ${percent(value(one))}`).join('; ');
    chart.setAttribute('aria-label', `${planted ? 'Found and right' : 'False alarms'} by ${name}. ${told}`);
  }

  function show() {
    said.replaceChildren(...sentences());
    draw();
  }
  // JupyterLab looks for this on what has the focus first; otherwise its shortcuts take the arrows.
  box.addEventListener('focusin', event => { event.target.dataset.lmSuppressShortcuts = 'true'; });
  box.querySelector('.lcp-live').replaceChildren(
    el('fieldset', {}, el('legend', {}, 'what should be found'), ...choices), ...rows, said, chart);
  box.dataset.live = 'yes';
  show();
}

// A page may hold several, and the same one twice; each script starts whatever has not started.
for (const box of document.querySelectorAll('.latentcortex-planner:not([data-started])')) {
  box.dataset.started = 'yes';
  start(box);
}
