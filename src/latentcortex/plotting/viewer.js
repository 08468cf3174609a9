// What a reader does with it: shape, map, frame, turning, zooming, reading off a vertex.

const POSTERIOR = { yaw: 0, pitch: 0 };
const VIEWS = {
  behind: POSTERIOR, below: { yaw: 0, pitch: -90 }, above: { yaw: 0, pitch: 90 },
  left: { yaw: 90, pitch: 0 }, right: { yaw: -90, pitch: 0 },
};
const SHAPES = ['pial', 'inflated', 'flat'];
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// In this order, all uint16: the vertices that have a value; for each map and frame their values, evenly
// between the map's lowest and highest, 65535 where there is none, and where winners have a confidence,
// this for each frame, between 0 and 1; the ceiling alike; for each region its vertices.
function readValues(setup, text) {
  const words = new Uint16Array(decode(text));
  let at = 0;
  const next = n => words.subarray(at, at += n);
  const vertices = next(setup.nKnown);
  const spread = (low, high) => {
    const full = new Float32Array(2 * N).fill(NaN);
    next(setup.nKnown).forEach((word, k) => { if (word < 65535) full[vertices[k]] = low + word / 65534 * (high - low); });
    return full;
  };
  const confidence = [], maps = setup.maps.map((map, k) => {
    const frames = map.frames.map(() => spread(map.low, map.high));
    confidence[k] = map.hasConfidence ? map.frames.map(() => spread(0, 1)) : null;
    return frames;
  });
  return {
    maps,
    confidence,
    ceiling: setup.hasCeiling ? spread(0, 1) : null,
    regions: setup.regions.map(({ name, colour, n }) => {
      const mask = new Uint8Array(2 * N);
      next(n).forEach(vertex => { mask[vertex] = 1; });
      return { name, colour, mask };
    }),
    vertices,
  };
}

function start(box, mesh) {
  const setup = JSON.parse(box.dataset.setup), values = readValues(setup, box.dataset.values);
  const canvas = el('canvas', { tabindex: '0', role: 'img', 'aria-label': setup.alt });
  const scene = makeScene(canvas, mesh, values.regions);
  if (!scene) return problem(box, 'This browser offers no WebGL 2, so the picture stays still.');
  const state = { shape: setup.shape, map: 0, frame: 0, sides: [0, 1], outlined: true, zoom: 1, pan: [0, 0], ...POSTERIOR };
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
  let waiting = false, moving = 0;

  // The part of the flat surface that has values: its middle and half its width and height, in mm.
  const flatWindow = () => {
    const used = state.sides.flatMap(side => Array.from(values.vertices).filter(v => (v >= N) === !!side));
    const flat = new Set(mesh.sides.flatMap(({ faces, nFlat }) => Array.from(faces.subarray(0, nFlat))));
    let shown = used.filter(v => flat.has(v));
    if (!shown.length) shown = Array.from(flat).filter(v => state.sides.includes(v < N ? 0 : 1));
    const x = shown.map(v => mesh.flat[2 * v] * UNIT + (v < N ? -170 : 170)), y = shown.map(v => mesh.flat[2 * v + 1] * UNIT);
    const ends = list => list.reduce(([a, b], c) => [Math.min(a, c), Math.max(b, c)], [Infinity, -Infinity]);
    const [left, right] = ends(x), [low, high] = ends(y);
    return { middle: [(left + right) / 2, (low + high) / 2], half: [1.08 * (right - left) / 2 + 2, 1.08 * (high - low) / 2 + 2] };
  };
  let atFlat = flatWindow();

  const view = () => {
    const f = clamp(state.shape - 1, 0, 1), round = 1 - f;
    const yaw = state.yaw * round * Math.PI / 180, pitch = state.pitch * round * Math.PI / 180;
    const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    // Seen from behind: x to the right, z up, -y towards the reader; then turned about the vertical
    // axis and tipped. By columns, as WebGL has it.
    const turn = [cy, sp * sy, -cp * sy, -sy, sp * cy, -cp * cy, 0, cp, sp];
    const one = state.sides.length < 2, solid = [one ? 80 : 118, 82];
    const half = [0, 1].map(i => solid[i] * round + atFlat.half[i] * f);
    const aspect = canvas.clientWidth / canvas.clientHeight || 1.5, wide = Math.max(half[0], half[1] * aspect) / state.zoom;
    const middle = [0, 1].map(i => atFlat.middle[i] * f + state.pan[i]);
    return { shape: state.shape, sides: state.sides, turn, middle, scale: [1 / wide, aspect / wide] };
  };
  const draw = () => {
    waiting = false;
    const ratio = window.devicePixelRatio || 1, width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (!width) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    scene.draw(view(), setup.maps[state.map].choices, state.outlined);
  };
  const redraw = () => { if (!waiting) { waiting = true; requestAnimationFrame(draw); } };

  // ---- controls
  const read = el('div', { class: 'lc-read', role: 'status' }), rest = 'Point at a vertex to read its value.';
  const row = (...children) => el('div', { class: 'lc-row' }, ...children);
  const slider = (name, max, step, value, input) => {
    const made = el('input', { type: 'range', min: 0, max, step, value, 'aria-label': name });
    made.addEventListener('input', () => input(+made.value));
    return made;
  };
  const button = (text, press, attributes = {}) => {
    const made = el('button', { type: 'button', ...attributes }, text);
    made.addEventListener('click', press);
    return made;
  };
  const setShape = shape => {
    state.shape = shape;
    shapeSlider.value = shape;
    const [low, high] = [SHAPES[Math.floor(shape)], SHAPES[Math.ceil(shape)]];
    shapeSlider.setAttribute('aria-valuetext', low === high ? low : `between ${low} and ${high}`);
    shapeButtons.forEach((b, k) => b.setAttribute('aria-pressed', k === shape));
    redraw();
  };
  const glide = (to, set, from) => {
    cancelAnimationFrame(moving);
    if (still) return set(to);
    const begin = performance.now();
    const step = now => {
      const t = clamp((now - begin) / 700, 0, 1), s = t * t * (3 - 2 * t);
      set(t < 1 ? from + (to - from) * s : to);
      if (t < 1) moving = requestAnimationFrame(step);
    };
    moving = requestAnimationFrame(step);
  };
  const shapeSlider = slider('Shape, from pial over inflated to flat', 2, 0.01, state.shape, shape => { cancelAnimationFrame(moving); setShape(shape); });
  const shapeButtons = SHAPES.map((name, k) => button(name, () => glide(k, setShape, state.shape)));
  const reset = () => {
    Object.assign(state, { zoom: 1, pan: [0, 0], ...POSTERIOR });
    redraw();
  };
  const look = el('select', { 'aria-label': 'View' }, el('option', { value: '' }, 'from …'), ...Object.keys(VIEWS).map(name => el('option', { value: name }, `from ${name === 'left' || name === 'right' ? 'the ' + name : name}`)));
  look.addEventListener('change', () => {
    if (!look.value) return;
    reset();
    Object.assign(state, VIEWS[look.value]);
    if (state.shape > 1) setShape(1);
    look.value = '';
  });
  const half = el('select', { 'aria-label': 'Hemispheres' }, ...['both sides', 'left', 'right'].map((name, k) => el('option', { value: k }, name)));
  half.addEventListener('change', () => {
    state.sides = [[0, 1], [0], [1]][half.value];
    atFlat = flatWindow();
    reset();
  });
  const outline = button('regions', () => { state.outlined = !state.outlined; outline.setAttribute('aria-pressed', state.outlined); redraw(); }, { 'aria-pressed': 'true' });

  const bar = el('div', { class: 'lc-bar' }), frameLabel = el('output');
  const frameSlider = slider(setup.frameName, 0, 1, 0, frame => show(state.map, frame));
  const play = button('Play', () => {
    if (play.timer) return stop();
    if (state.frame >= frames().length - 1) show(state.map, 0);
    play.textContent = 'Pause';
    play.timer = setInterval(() => {
      if (!box.isConnected || state.frame >= frames().length - 1) return stop();
      show(state.map, state.frame + 1);
    }, 700);
  });
  const stop = () => { clearInterval(play.timer); play.timer = 0; play.textContent = 'Play'; };
  const frames = () => setup.maps[state.map].frames;
  const mapChoice = el('select', { 'aria-label': 'Map' }, ...setup.maps.map(({ name }, k) => el('option', { value: k }, name)));
  mapChoice.addEventListener('change', () => show(+mapChoice.value, state.frame));
  const frameRow = row(play, frameSlider, frameLabel);

  const paintBar = map => {
    const css = k => `rgb(${map.colours.slice(3 * k, 3 * k + 3).join()})`;
    if (map.choices) {
      const label = map.hasConfidence ? `${map.label} (paler: less sure)` : map.label;
      return bar.replaceChildren(el('div', {}, label), ...map.names.map((name, k) => el('span', { class: 'lc-key' }, el('i', { style: `background:${css(k)}` }), name)));
    }
    const stops = Array.from({ length: 33 }, (_, k) => css(Math.min(8 * k, 255)));
    bar.replaceChildren(
      el('div', { class: 'lc-ramp', style: `background:linear-gradient(to right,${stops.join()})` }),
      el('div', { class: 'lc-ends' }, ...map.ends.map(end => el('span', {}, end))), el('div', { class: 'lc-label' }, map.label));
  };
  const show = (which, frame) => {
    const map = setup.maps[which], last = map.frames.length - 1;
    Object.assign(state, { map: which, frame: clamp(frame, 0, last) });
    const rgba = new Uint8Array(8 * N), full = values.maps[which][state.frame], [low, high] = map.limits;
    const n = map.colours.length / 3, sure = values.confidence[which]?.[state.frame];
    for (let v = 0; v < 2 * N; v++) {
      if (Number.isNaN(full[v])) continue;
      const k = map.choices ? Math.round(full[v]) : clamp(Math.floor(n * (full[v] - low) / (high - low)), 0, n - 1);
      const kept = sure ? map.palest + (1 - map.palest) * sure[v] : 1; // of the colour, the rest is white
      for (let i = 0; i < 3; i++) rgba[4 * v + i] = 255 - kept * (255 - map.colours[3 * k + i]);
      rgba[4 * v + 3] = 255;
    }
    scene.colour(rgba);
    mapChoice.value = which;
    frameRow.hidden = !last;
    frameRow.style.display = last ? '' : 'none';
    frameSlider.max = last;
    frameSlider.value = state.frame;
    frameSlider.setAttribute('aria-valuetext', map.frames[state.frame]);
    frameLabel.textContent = map.frames[state.frame];
    paintBar(map);
    redraw();
  };

  // ---- reading off and turning
  const describe = vertex => {
    if (vertex < 0) return rest;
    const map = setup.maps[state.map], value = values.maps[state.map][state.frame][vertex];
    const regions = values.regions.filter(({ mask }) => mask[vertex]).map(({ name }) => name);
    const share = values.ceiling ? values.ceiling[vertex] : NaN, sure = values.confidence[state.map]?.[state.frame][vertex];
    return [
      Number.isNaN(value) ? 'no value here' : map.choices ? map.names[Math.round(value)] : `${value.toFixed(map.digits)} ${map.label}`,
      ...(sure >= 0 ? [`confidence ${Math.round(100 * sure)} %`] : []),
      regions.join(', ') || 'no named region',
      ...(Number.isNaN(share) ? [] : [`noise ceiling ${Math.round(100 * share)} %`]),
      `${vertex < N ? 'left' : 'right'} hemisphere, vertex ${vertex % N}`,
    ].join(' · ');
  };
  const at = (x, y) => pick(mesh, view(), x, y);
  const readAt = event => {
    const frame = canvas.getBoundingClientRect();
    const vertex = at(2 * (event.clientX - frame.left) / frame.width - 1, 1 - 2 * (event.clientY - frame.top) / frame.height);
    read.textContent = describe(vertex);
  };
  const turnBy = (dx, dy) => { // in pixels
    if (state.shape > 1.5) {
      const { scale } = view();
      state.pan = [state.pan[0] - 2 * dx / canvas.clientWidth / scale[0], state.pan[1] + 2 * dy / canvas.clientHeight / scale[1]];
    } else {
      state.yaw = (state.yaw + 0.5 * dx + 540) % 360 - 180;
      state.pitch = clamp(state.pitch + 0.5 * dy, -90, 90);
    }
    redraw();
  };
  const zoomBy = factor => { state.zoom = clamp(state.zoom * factor, 0.3, 12); redraw(); };
  const pointers = new Map();
  const apart = () => { const [a, b] = [...pointers.values()]; return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY); };
  let pressed = null, hovered = null;
  canvas.addEventListener('pointerdown', event => {
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
    pressed = event;
  });
  canvas.addEventListener('pointermove', event => {
    const before = pointers.get(event.pointerId);
    if (!before) {
      if (!hovered) requestAnimationFrame(() => { readAt(hovered); hovered = null; });
      hovered = event;
      return;
    }
    const distance = pointers.size > 1 ? apart() : 0;
    pointers.set(event.pointerId, event);
    if (distance) zoomBy(apart() / distance);
    else turnBy(event.clientX - before.clientX, event.clientY - before.clientY);
  });
  for (const kind of ['pointerup', 'pointercancel']) {
    canvas.addEventListener(kind, event => {
      pointers.delete(event.pointerId);
      // A press that did not move reads a vertex: fingers have no other way to point.
      if (kind === 'pointerup' && pressed && Math.hypot(event.clientX - pressed.clientX, event.clientY - pressed.clientY) < 5) readAt(event);
    });
  }
  canvas.addEventListener('wheel', event => {
    // Without a press first, a reader who scrolls past would be held up here.
    if (document.activeElement !== canvas && !event.ctrlKey) return;
    event.preventDefault();
    zoomBy(Math.exp(-0.0015 * event.deltaY * (event.deltaMode ? 20 : 1)));
  }, { passive: false });
  const keys = {
    ArrowLeft: () => turnBy(-20, 0), ArrowRight: () => turnBy(20, 0), ArrowUp: () => turnBy(0, -20), ArrowDown: () => turnBy(0, 20),
    '+': () => zoomBy(1.2), '=': () => zoomBy(1.2), '-': () => zoomBy(1 / 1.2), r: reset, Home: reset,
    Enter: () => { read.textContent = `In the middle: ${describe(at(0, 0))}`; },
  };
  canvas.addEventListener('keydown', event => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab has keys of its own
    keys[event.key]();
  });
  canvas.addEventListener('webglcontextlost', () => {
    problem(box, 'The browser took the graphics back, so the picture stays still. Load the page again to turn it.');
  });

  const keysOfRegions = el('div', {}, ...values.regions.map(({ name, colour }) =>
    el('span', { class: 'lc-key' }, el('i', { style: `background:rgb(${colour.map(c => Math.round(255 * c)).join()})` }), name)));
  box.querySelector('.lc-live').replaceChildren(
    canvas, read, bar,
    ...(setup.maps.length > 1 ? [row(el('span', { class: 'lc-name' }, 'map'), mapChoice)] : []), frameRow,
    row(shapeButtons[0], shapeButtons[1], shapeButtons[2], shapeSlider),
    row(look, half, ...(values.regions.length ? [outline] : []), button('reset', reset)),
    keysOfRegions,
    el('div', { class: 'lc-help' }, 'Drag to turn (on the flat map, to move it). After a click the wheel or two fingers zoom. Keys: arrows, + and −, r to reset, Enter to read the middle.'));
  box.dataset.live = 'yes';
  read.textContent = values.vertices.length ? rest : 'No vertex has a value.';
  setShape(state.shape);
  show(0, 0);
  new ResizeObserver(redraw).observe(canvas);
  box.latentcortex = { state, values, mesh, scene, show, setShape, reset, at, describe, draw, view, zoomBy, turnBy };
}

function problem(box, text) {
  delete box.dataset.live;
  const line = box.querySelector('.lc-problem');
  line.textContent = text;
  line.hidden = false;
}

// A page may hold several viewers, and the same one twice; a page in which JupyterLab runs scripts before
// it shows their output, and Colab's frames, which share nothing. Each script therefore starts whatever
// has not started, with its own mesh or the one that another viewer of the page has left on the window.
const KEY = 'latentcortexMesh1';
for (const box of document.querySelectorAll('.latentcortex-cortex:not([data-started])')) {
  const begin = () => {
    if (box.dataset.live) return;
    box.querySelector('.lc-problem').hidden = true;
    try { start(box, window[KEY]); } catch (error) { problem(box, `The cortex could not be drawn (${error.message}), so the picture stays still.`); }
  };
  box.dataset.started = 'yes';
  if (!window[KEY] && box.dataset.mesh) {
    window[KEY] = readMesh(box.dataset.mesh);
    window.dispatchEvent(new Event(KEY));
  }
  if (window[KEY]) begin();
  else {
    problem(box, 'The surface of this cortex is in another viewer of the page: run or open that one to turn this one, too.');
    window.addEventListener(KEY, begin, { once: true });
  }
}
