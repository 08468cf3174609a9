// What a reader does with the cortex. Each part adds to the viewer V what the others use: V.state is what
// is shown now, V.redraw() draws it soon.

const POSTERIOR = { yaw: 0, pitch: 0 };
const VIEWS = {
  behind: POSTERIOR, below: { yaw: 0, pitch: -90 }, above: { yaw: 0, pitch: 90 },
  'the left': { yaw: 90, pitch: 0 }, 'the right': { yaw: -90, pitch: 0 },
};
const SHAPES = ['pial', 'inflated', 'flat'];
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const row = (...children) => el('div', { class: 'lc-row' }, ...children);
const choice = (name, texts, change) => {
  const options = texts.map((text, k) => el('option', { value: k }, text));
  const made = el('select', { 'aria-label': name }, ...options);
  made.addEventListener('change', () => change(+made.value));
  return made;
};
const slider = (name, max, step, value, input) => {
  const made = el('input', { type: 'range', min: 0, max, step, value, 'aria-label': name });
  made.addEventListener('input', () => input(+made.value));
  return made;
};
const button = (text, press) => {
  const made = el('button', { type: 'button' }, text);
  made.addEventListener('click', press);
  return made;
};
const key = (rgb, name) =>
  el('span', { class: 'lc-key' }, el('i', { style: `background:rgb(${rgb.join()})` }), name);

// The part of the flat surface that has values: its middle and half its width and height, in mm.
function flatWindow({ mesh, values, state }) {
  const there = v => state.sides.includes(v < N ? 0 : 1);
  const flat = new Set(mesh.sides.flatMap(({ faces, nFlat }) => [...faces.subarray(0, nFlat)]));
  let shown = [...values.vertices].filter(v => there(v) && flat.has(v));
  if (!shown.length) shown = [...flat].filter(there);
  const ends = list => list.reduce(([a, b], c) => [Math.min(a, c), Math.max(b, c)], [Infinity, -Infinity]);
  const [left, right] = ends(shown.map(v => mesh.flat[2 * v] * UNIT + (v < N ? -170 : 170)));
  const [low, high] = ends(shown.map(v => mesh.flat[2 * v + 1] * UNIT));
  return {
    middle: [(left + right) / 2, (low + high) / 2],
    half: [1.08 * (right - left) / 2 + 2, 1.08 * (high - low) / 2 + 2],
  };
}

function addView(V) {
  const { canvas, state, setup } = V;
  let waiting = false;
  V.atFlat = flatWindow(V);
  V.view = () => {
    const f = clamp(state.shape - 1, 0, 1), round = 1 - f;
    const yaw = state.yaw * round * Math.PI / 180, pitch = state.pitch * round * Math.PI / 180;
    const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    // Seen from behind: x to the right, z up, -y towards the reader; then turned about the vertical
    // axis and tipped. By columns, as WebGL has it.
    const turn = [cy, sp * sy, -cp * sy, -sy, sp * cy, -cp * cy, 0, cp, sp];
    const solid = [state.sides.length < 2 ? 80 : 118, 82]; // half of what a solid shape needs, in mm
    const half = [0, 1].map(i => solid[i] * round + V.atFlat.half[i] * f);
    const aspect = canvas.clientWidth / canvas.clientHeight || 1.5;
    const wide = Math.max(half[0], half[1] * aspect) / state.zoom;
    const middle = [0, 1].map(i => V.atFlat.middle[i] * f + state.pan[i]);
    return { shape: state.shape, sides: state.sides, turn, middle, scale: [1 / wide, aspect / wide] };
  };
  V.draw = () => {
    waiting = false;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map(x => Math.round(x * ratio));
    if (!width) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    V.scene.draw(V.view(), setup.maps[state.map].choices, state.outlined);
    V.afterDraw?.();
  };
  V.redraw = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(V.draw);
  };
  V.reset = () => {
    Object.assign(state, { zoom: 1, pan: [0, 0], ...POSTERIOR });
    V.turned();
    V.redraw();
  };
}

function addShapes(V) {
  const { state } = V, still = matchMedia('(prefers-reduced-motion: reduce)').matches;
  let moving = 0;
  const glide = to => {
    cancelAnimationFrame(moving);
    if (still) return V.setShape(to);
    const from = state.shape, begin = performance.now();
    const step = now => {
      const t = clamp((now - begin) / 700, 0, 1), s = t * t * (3 - 2 * t);
      V.setShape(t < 1 ? from + (to - from) * s : to);
      if (t < 1) moving = requestAnimationFrame(step);
    };
    moving = requestAnimationFrame(step);
  };
  const buttons = SHAPES.map((name, k) => button(name, () => glide(k)));
  const bar = slider('Shape, from pial over inflated to flat', 2, 0.01, state.shape, shape => {
    cancelAnimationFrame(moving);
    V.setShape(shape);
  });
  V.setShape = shape => {
    state.shape = shape;
    bar.value = shape;
    const [low, high] = [SHAPES[Math.floor(shape)], SHAPES[Math.ceil(shape)]];
    bar.setAttribute('aria-valuetext', low === high ? low : `between ${low} and ${high}`);
    buttons.forEach((one, k) => one.setAttribute('aria-pressed', k === shape));
    V.redraw();
  };
  V.shapeRow = row(...buttons, bar);
}

function addSides(V) {
  const { state } = V;
  const look = choice('View', ['from …', ...Object.keys(VIEWS).map(name => `from ${name}`)], k => {
    if (!k) return;
    V.reset();
    Object.assign(state, Object.values(VIEWS)[k - 1]);
    if (state.shape > 1) V.setShape(1);
    look.value = k; // the reset has cleared it, and arrow keys go on from here
  });
  V.turned = () => { look.value = 0; };
  const half = choice('Hemispheres', ['both sides', 'left', 'right'], k => {
    state.sides = [[0, 1], [0], [1]][k];
    V.atFlat = flatWindow(V);
    V.reset();
  });
  const outline = button('regions', () => {
    state.outlined = !state.outlined;
    outline.setAttribute('aria-pressed', state.outlined);
    V.redraw();
  });
  outline.setAttribute('aria-pressed', state.outlined);
  V.sideRow = row(look, half, ...(V.values.regions.length ? [outline] : []), button('reset', V.reset));
}

// The colours (red, green, blue, whether there is a value) of all vertices in one frame.
function colouring(map, values, confidence) {
  const rgba = new Uint8Array(8 * N), [low, high] = map.limits, n = map.colours.length / 3;
  for (let v = 0; v < 2 * N; v++) {
    if (Number.isNaN(values[v])) continue;
    const share = (values[v] - low) / (high - low);
    const k = map.choices ? Math.round(values[v]) : clamp(Math.floor(n * share), 0, n - 1);
    const kept = confidence ? map.palest + (1 - map.palest) * confidence[v] : 1; // the rest is white
    for (let i = 0; i < 3; i++) rgba[4 * v + i] = 255 - kept * (255 - map.colours[3 * k + i]);
    rgba[4 * v + 3] = 255;
  }
  return rgba;
}

function colourBar(map) {
  const rgb = k => map.colours.slice(3 * k, 3 * k + 3);
  if (map.choices) {
    const label = map.hasConfidence ? `${map.label} (paler: less sure)` : map.label;
    return [el('div', {}, label), ...map.names.map((name, k) => key(rgb(k), name))];
  }
  const stops = Array.from({ length: 33 }, (_, k) => `rgb(${rgb(Math.min(8 * k, 255)).join()})`);
  return [
    el('div', { class: 'lc-ramp', style: `background:linear-gradient(to right,${stops.join()})` }),
    el('div', { class: 'lc-ends' }, ...map.ends.map(end => el('span', {}, end))),
    el('div', { class: 'lc-label' }, map.label),
  ];
}

function addMaps(V) {
  const { state, setup, values, box } = V, label = el('output');
  const last = () => setup.maps[state.map].frames.length - 1;
  const frames = slider(setup.frameName, 0, 1, 0, frame => V.show(state.map, frame));
  const stop = () => {
    clearInterval(play.timer);
    play.timer = 0;
    play.textContent = 'Play';
  };
  const play = button('Play', () => {
    if (play.timer) return stop();
    if (state.frame >= last()) V.show(state.map, 0);
    play.textContent = 'Pause';
    play.timer = setInterval(() => {
      if (!box.isConnected || state.frame >= last()) return stop();
      V.show(state.map, state.frame + 1);
    }, 700);
  });
  const maps = choice('Map', setup.maps.map(({ name }) => name), k => V.show(k, state.frame));
  V.bar = el('div', { class: 'lc-bar' });
  V.frameRow = row(play, frames, label);
  V.mapRow = row(el('span', { class: 'lc-name' }, 'map'), maps);
  V.show = (which, frame) => {
    const map = setup.maps[which], end = map.frames.length - 1;
    Object.assign(state, { map: which, frame: clamp(frame, 0, end) });
    V.scene.colour(colouring(map, values.maps[which][state.frame], values.confidence[which]?.[state.frame]));
    maps.value = which;
    V.frameRow.style.display = end ? '' : 'none';
    frames.max = end;
    frames.value = state.frame;
    frames.setAttribute('aria-valuetext', map.frames[state.frame]);
    label.textContent = map.frames[state.frame];
    V.bar.replaceChildren(...colourBar(map));
    V.redraw();
  };
}

function addReading(V) {
  const { state, setup, values, canvas } = V;
  const rest = values.vertices.length ? 'Point at a vertex to read its value.' : 'No vertex has a value.';
  V.read = el('div', { class: 'lc-read', role: 'status' }, rest);
  V.at = (x, y) => pick(V.mesh, V.view(), x, y);
  V.describe = vertex => {
    if (vertex < 0) return rest;
    const map = setup.maps[state.map], value = values.maps[state.map][state.frame][vertex];
    const regions = values.regions.filter(({ mask }) => mask[vertex]).map(({ name }) => name);
    const sure = values.confidence[state.map]?.[state.frame][vertex], share = values.ceiling?.[vertex];
    const shown = map.choices ? map.names[Math.round(value)] : `${value.toFixed(map.digits)} ${map.label}`;
    return [
      Number.isNaN(value) ? 'no value here' : shown,
      ...(sure >= 0 ? [`confidence ${Math.round(100 * sure)} %`] : []),
      regions.join(', ') || 'no named region',
      ...(share >= 0 ? [`noise ceiling ${Math.round(100 * share)} %`] : []),
      `${vertex < N ? 'left' : 'right'} hemisphere, vertex ${vertex % N}`,
    ].join(' · ');
  };
  V.readAt = event => {
    const frame = canvas.getBoundingClientRect();
    const x = 2 * (event.clientX - frame.left) / frame.width - 1;
    const vertex = V.at(x, 1 - 2 * (event.clientY - frame.top) / frame.height);
    V.read.textContent = V.describe(vertex);
    return vertex;
  };
}

function addTurning(V) {
  const { state, canvas } = V;
  const turnBy = (dx, dy) => { // in pixels
    if (state.shape > 1.5) {
      const { scale } = V.view();
      const [x, y] = [2 * dx / canvas.clientWidth / scale[0], 2 * dy / canvas.clientHeight / scale[1]];
      state.pan = [state.pan[0] - x, state.pan[1] + y];
    } else {
      state.yaw = (state.yaw + 0.5 * dx + 540) % 360 - 180;
      state.pitch = clamp(state.pitch + 0.5 * dy, -90, 90);
      V.turned();
    }
    V.redraw();
  };
  const zoomBy = factor => {
    state.zoom = clamp(state.zoom * factor, 0.3, 12);
    V.redraw();
  };
  addPointers(V, turnBy, zoomBy);
  canvas.addEventListener('wheel', event => {
    // Without a press first, a reader who scrolls past would be held up here.
    if (document.activeElement !== canvas && !event.ctrlKey) return;
    event.preventDefault();
    zoomBy(Math.exp(-0.0015 * event.deltaY * (event.deltaMode ? 20 : 1)));
  }, { passive: false });
  const keys = {
    ArrowLeft: () => turnBy(-20, 0), ArrowRight: () => turnBy(20, 0),
    ArrowUp: () => turnBy(0, -20), ArrowDown: () => turnBy(0, 20),
    '+': () => zoomBy(1.2), '=': () => zoomBy(1.2), '-': () => zoomBy(1 / 1.2), r: V.reset, Home: V.reset,
    Enter: () => {
      const middle = V.at(0, 0);
      V.read.textContent = `In the middle: ${middle < 0 ? 'no vertex' : V.describe(middle)}`;
      V.choose?.(middle);
    },
  };
  canvas.addEventListener('keydown', event => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab has keys of its own
    keys[event.key]();
  });
}

function addPointers(V, turnBy, zoomBy) {
  const { canvas, readAt } = V;
  const pointers = new Map(), gap = (a, b) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
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
    const apart = pointers.size > 1 ? gap(...pointers.values()) : 0;
    pointers.set(event.pointerId, event);
    if (apart) zoomBy(gap(...pointers.values()) / apart);
    else turnBy(event.clientX - before.clientX, event.clientY - before.clientY);
  });
  for (const kind of ['pointerup', 'pointercancel']) {
    canvas.addEventListener(kind, event => {
      pointers.delete(event.pointerId);
      // A press that did not move reads a vertex: fingers have no other way to point.
      if (kind === 'pointerup' && pressed && gap(event, pressed) < 5) {
        const vertex = readAt(event);
        V.choose?.(vertex);
      }
    });
  }
}
