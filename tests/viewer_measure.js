// Works the first viewer of the page as a reader would, and says what it then shows.
const L = boxes[0].latentcortex, canvas = boxes[0].querySelector('canvas'), gl = L.scene.gl, said = {};
// Where a point of the flat or the inflated surface lies on the screen, worked out apart from the viewer.
const project = (kind, corners, weights) => {
  const { turn, middle, scale } = L.view(), at = [0, 0, 0];
  corners.forEach((vertex, k) => {
    const side = vertex < 10242 ? -1 : 1, xyz = L.mesh[kind], point = kind === 'flat'
      ? [xyz[2 * vertex] / 200 + 170 * side, 0, xyz[2 * vertex + 1] / 200]
      : [xyz[3 * vertex] / 200 + 50 * side, xyz[3 * vertex + 1] / 200, xyz[3 * vertex + 2] / 200];
    point.forEach((value, i) => { at[i] += weights[k] * value; });
  });
  const [x, y, z] = at;
  return [0, 1].map(i => (turn[i] * x + turn[3 + i] * y + turn[6 + i] * z - middle[i]) * scale[i]);
};
const pixels = points => {
  L.draw(); // which also gives the canvas its size
  const { width, height } = canvas, all = new Uint8Array(4 * width * height);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, all);
  return points.map(([x, y]) => {
    const k = 4 * (Math.floor((y + 1) / 2 * height) * width + Math.floor((x + 1) / 2 * width));
    return [...all.subarray(k, k + 4)];
  });
};
boxes[0].querySelectorAll('.lc-live button').forEach(b => { if (b.textContent === 'regions') b.click(); });
said.values = L.values.maps.map(frames => frames.map(f => [...f].map(x => Number.isNaN(x) ? null : x)));

L.setShape(2);
const faces = L.mesh.sides.flatMap(({ faces, nFlat }) =>
  Array.from({ length: Math.floor(nFlat / 12) }, (_, k) => [...faces.subarray(12 * k, 12 * k + 3)]));
const near = [0.8, 0.1, 0.1], centre = [1 / 3, 1 / 3, 1 / 3];
// Faces within the picture that hold a circle of 3 pixels: slivers share their pixels with neighbours.
const wide = face => {
  const [a, b, c] = [0, 1, 2].map(k => project('flat', [face[k]], [1]).map((x, i) => x / 2 * [600, 400][i]));
  const sides = [[a, b], [b, c], [c, a]].map(([p, q]) => Math.hypot(p[0] - q[0], p[1] - q[1]));
  const area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]); // twice
  return Math.abs(area) / sides.reduce((x, y) => x + y) > 1.5;
};
said.faces = faces.filter(face => wide(face) && project('flat', face, centre).every(x => Math.abs(x) < 0.98));
said.picked = said.faces.map(face => L.at(...project('flat', face, near)));
const centres = said.faces.map(face => project('flat', face, centre));
said.colours = pixels(centres);
// How near each corner is to the middle of the pixel that was read.
said.weights = said.faces.map((face, k) => {
  const [a, b, c] = [0, 1, 2].map(j => project('flat', [face[j]], [1]));
  const [x, y] = [canvas.width, canvas.height].map((size, i) =>
    2 * (Math.floor((centres[k][i] + 1) / 2 * size) + 0.5) / size - 1);
  const area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1]);
  const second = ((x - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (y - a[1])) / area;
  const third = ((b[0] - a[0]) * (y - a[1]) - (x - a[0]) * (b[1] - a[1])) / area;
  return [1 - second - third, second, third];
});
L.show(2, 0);
said.winnerColours = pixels(centres);
L.show(3, 0);
said.paleColours = pixels(centres);
said.paleText = L.describe(L.values.vertices[0]);

L.show(0, 0); L.setShape(1);
const behind = (a, b) => L.mesh.inflated[3 * b + 1] < L.mesh.inflated[3 * a + 1] ? b : a;
said.last = [...Array(10242).keys()].reduce(behind);
said.lastPicked = L.at(...project('inflated', [said.last], [1]));
said.text = L.describe(said.last);
said.besides = [L.at(0.99, 0.99), L.describe(-1)];

const press = (key, more = {}) =>
  canvas.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...more }));
const now = () => ({ yaw: L.state.yaw, pitch: L.state.pitch, zoom: L.state.zoom, pan: L.state.pan });
said.start = now();
press('ArrowRight'); press('ArrowDown'); press('+'); said.turned = now();
press('+', { ctrlKey: true }); said.afterCtrl = now();
press('r'); said.reset = now();
L.setShape(2); press('ArrowRight'); said.flatPan = now(); press('r');
const read = boxes[0].querySelector('.lc-read');
press('Enter'); said.middle = [read.textContent]; // between the hemispheres
L.state.pan = project('flat', [said.last], [1]).map((x, i) => x / L.view().scale[i]);
press('Enter'); said.middle.push(read.textContent === `In the middle: ${L.describe(said.last)}`); press('r'); L.setShape(1);

const wheel = () => canvas.dispatchEvent(new WheelEvent('wheel', { deltaY: -200, cancelable: true }));
said.wheelPast = wheel(); said.zoomPast = L.state.zoom;
canvas.focus(); said.wheelFocused = wheel(); said.zoomFocused = L.state.zoom; press('Home');

canvas.setPointerCapture = () => {}; // made-up fingers cannot be captured
const point = (kind, x, pointerId = 1, y = 100) =>
  canvas.dispatchEvent(new PointerEvent(kind, { pointerId, clientX: x, clientY: y, bubbles: true }));
point('pointerdown', 100); point('pointermove', 140, 1, 90); point('pointerup', 140, 1, 90);
said.dragged = now(); press('r');
point('pointerdown', 100); point('pointerdown', 200, 2); point('pointermove', 300, 2); said.pinched = now();
point('pointerup', 100); point('pointerup', 300, 2); press('r');

const [map] = boxes[0].querySelectorAll('select'), [noise, shape] = boxes[0].querySelectorAll('input');
map.value = 1; map.dispatchEvent(new Event('change'));
said.labels = [0, 1, 2].map(k => {
  noise.value = k; noise.dispatchEvent(new Event('input'));
  return [boxes[0].querySelector('output').textContent, noise.getAttribute('aria-valuetext'), L.state.frame];
});
said.noise = [noise.max, noise.getAttribute('aria-label')];
shape.value = 0.5; shape.dispatchEvent(new Event('input'));
said.shape = [L.state.shape, shape.getAttribute('aria-valuetext')];
said.bar = boxes[0].querySelector('.lc-bar').innerText;
said.canvas = [canvas.tabIndex, canvas.getAttribute('aria-label')];
noise.value = 0; noise.dispatchEvent(new Event('input'));
boxes[0].querySelectorAll('button').forEach(b => { if (b.textContent === 'Play') b.click(); });
setTimeout(() => { said.played = L.state.frame; say(said); }, 3500);
