// Starts every viewer of the page that has not started.

// In this order, all uint16: the vertices that have a value; for each map and frame their values, evenly
// between the map's lowest and highest, 65535 where there is none, and where winners have a confidence,
// this for each frame, between 0 and 1; the ceiling alike; for each region its vertices.
function readValues(setup, text) {
  const words = new Uint16Array(decode(text));
  let at = 0;
  const next = n => words.subarray(at, at += n), vertices = next(setup.nVertices);
  const spread = (low, high) => {
    const full = new Float32Array(2 * N).fill(NaN);
    next(setup.nVertices).forEach((word, k) => {
      if (word < 65535) full[vertices[k]] = low + word / 65534 * (high - low);
    });
    return full;
  };
  const confidence = [], maps = setup.maps.map((map, k) => {
    const frames = map.frames.map(() => spread(map.low, map.high));
    confidence[k] = map.hasConfidence ? map.frames.map(() => spread(0, 1)) : null;
    return frames;
  });
  const ceiling = setup.hasCeiling ? spread(0, 1) : null;
  const regions = setup.regions.map(({ name, colour, n }) => {
    const mask = new Uint8Array(2 * N);
    next(n).forEach(vertex => { mask[vertex] = 1; });
    return { name, colour, mask };
  });
  return { vertices, maps, confidence, ceiling, regions };
}

const HELP = 'Drag to turn (on the flat map, to move it). After a click the wheel or two fingers zoom. '
  + 'Keys: arrows, + and −, r to reset, Enter to read the middle.';

const HELP_CARDS = 'A click, or Enter for the middle, shows the card of a vertex.';

function start(box, mesh) {
  const setup = JSON.parse(box.dataset.setup), values = readValues(setup, box.dataset.values);
  const canvas = el('canvas', { tabindex: '0', role: 'img', 'aria-label': setup.alt });
  const scene = makeScene(canvas, mesh, values.regions);
  if (!scene) return problem(box, 'This browser offers no WebGL 2, so the picture stays still.');
  const state = {
    shape: setup.shape, map: 0, frame: 0, sides: [0, 1], outlined: true, zoom: 1, pan: [0, 0], ...POSTERIOR,
  };
  const V = { box, mesh, setup, values, canvas, scene, state };
  for (const add of [addView, addShapes, addSides, addMaps, addReading, addTurning, addCards]) add(V);
  canvas.addEventListener('webglcontextlost', () => {
    problem(box, 'The browser took the graphics back, so the picture stays still. Load the page again.');
  });
  // JupyterLab looks for this on what has the focus first; otherwise its shortcuts take the arrows.
  box.addEventListener('focusin', event => { event.target.dataset.lmSuppressShortcuts = 'true'; });
  box.querySelector('.lc-live').replaceChildren(
    V.stage, V.read, ...(V.cardRows || []), V.bar, ...(setup.maps.length > 1 ? [V.mapRow] : []), V.frameRow, V.shapeRow, V.sideRow,
    el('div', {}, ...values.regions.map(({ name, colour }) => key(colour.map(c => 255 * c), name))),
    el('div', { class: 'lc-help' }, V.cardRows ? `${HELP} ${HELP_CARDS}` : HELP));
  box.dataset.live = 'yes';
  V.setShape(state.shape);
  V.show(0, setup.firstFrame);
  new ResizeObserver(V.redraw).observe(canvas);
  box.latentcortex = V;
  box.dispatchEvent(new Event('latentcortex-start', { bubbles: true })); // for what leads this cortex
}

function problem(box, text) {
  delete box.dataset.live;
  const line = box.querySelector('.lc-problem');
  line.textContent = text;
  line.hidden = false;
}

// A page may hold several viewers, and the same one twice; JupyterLab makes scripts again, and Colab's
// frames share nothing. So each script starts whatever has not started, with its own mesh or the one that
// another viewer of the page has left on the window.
const MESH = 'latentcortexMesh1';
for (const box of document.querySelectorAll('.latentcortex-cortex:not([data-started])')) {
  const begin = () => {
    box.querySelector('.lc-problem').hidden = true;
    try {
      start(box, window[MESH]);
    } catch (error) {
      problem(box, `The cortex could not be drawn (${error.message}), so the picture stays still.`);
    }
  };
  box.dataset.started = 'yes';
  if (!window[MESH] && box.dataset.mesh) {
    window[MESH] = readMesh(box.dataset.mesh);
    window.dispatchEvent(new Event(MESH));
  }
  if (window[MESH]) begin();
  else {
    problem(box, 'The surface of this cortex is in another viewer of the page. Run or open that one, too.');
    window.addEventListener(MESH, begin, { once: true });
  }
}
