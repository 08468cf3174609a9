// Cards of vertices: a reader presses a vertex, steps to a neighbour or takes one from a list.

function readCards({ cardsSetup, cardsPlaces, cardsAmounts }) {
  const setup = JSON.parse(cardsSetup), { n, nBest, nWords } = setup;
  const places = new Uint16Array(decode(cardsPlaces));
  const amounts = Float32Array.from(new Int16Array(decode(cardsAmounts)), x => x === -32768 ? NaN : x / 100);
  const row = new Map([...places.subarray(0, n)].map((vertex, k) => [vertex, k]));
  return {
    setup, row,
    of(vertex) {
      const k = row.get(vertex), best = n + k * nBest, liked = n * (1 + nBest) + k * nWords;
      const [x, y, size] = amounts.subarray(3 * k, 3 * k + 3), answers = 4 * n + k * nWords;
      return {
        x, y, size, r: amounts[3 * n + k],
        best: [...places.subarray(best, best + nBest)],
        words: [...places.subarray(liked, liked + nWords)].map((w, i) => [setup.words[w], amounts[answers + i]]),
      };
    },
  };
}

// The picture as a square of its width in degrees, with circles of one and of two standard deviations.
function fieldDrawing({ x, y, size }, width, label) {
  const half = width / 2, holder = el('div'); // the parser knows SVG's namespace
  const circle = (times, name) => `<circle cx="${x}" cy="${-y}" r="${times * size}" class="${name}"/>`;
  holder.innerHTML = `<svg class="lc-field" role="img" viewBox="${-half} ${-half} ${width} ${width}">`
    + `<path class="lc-cross" d="M${-half} 0H${half}M0 ${-half}V${half}"/>`
    + `${size > 0 ? circle(2, 'lc-wide') + circle(1, 'lc-narrow') : ''}</svg>`;
  holder.firstChild.setAttribute('aria-label', label);
  return holder.firstChild;
}

const degrees = (value, plus, minus) => `${Math.abs(value).toFixed(1)}° ${value < 0 ? minus : plus}`;
const signed = x => (x < 0 ? '−' : '+') + Math.abs(x).toFixed(2);

function addCards(V) {
  const { box, canvas, mesh, state, values } = V;
  V.stage = canvas;
  if (!box.dataset.cardsSetup) return;
  const cards = readCards(box.dataset), { setup } = cards;
  box.style.setProperty('--lc-sheet', `url(${box.dataset.cardsSheet})`);
  const marker = el('div', { class: 'lc-marker', 'aria-hidden': 'true' });
  const card = el('div', { class: 'lc-card', role: 'status', 'aria-label': 'Card of the chosen vertex' });
  const list = choice('Example vertices', ['examples …', ...setup.examples.map(([name]) => name)], k => {
    if (k) V.choose(setup.examples[k - 1][1]);
  });
  const steps = [['←', 'left', -1, 0], ['→', 'right', 1, 0], ['↑', 'above', 0, 1], ['↓', 'below', 0, -1]];
  const arrows = steps.map(([sign, name, x, y]) => {
    const made = button(sign, () => V.step(x, y));
    made.setAttribute('aria-label', `Step to the next vertex: ${name}`);
    return made;
  });
  V.stage = el('div', { class: 'lc-stage' }, canvas, marker);
  V.cardRows = [row(el('span', { class: 'lc-name' }, 'vertex'), list, ...arrows), card];
  V.afterDraw = () => {
    const [x, y, z] = projectOne(mesh, V.view(), state.vertex);
    const side = state.sides.includes(state.vertex < N ? 0 : 1) && Math.abs(x) < 1 && Math.abs(y) < 1;
    marker.hidden = !side;
    Object.assign(marker.style, { left: `${50 + 50 * x}%`, top: `${50 - 50 * y}%` });
    // Behind other parts of the surface the ring is broken.
    const front = side && state.shape <= 1.5 ? pick(mesh, V.view(), x, y) : -1;
    marker.dataset.behind = front >= 0 && projectOne(mesh, V.view(), front)[2] > z + 8 ? 'yes' : 'no';
  };
  V.choose = vertex => {
    if (vertex < 0) return;
    // The list names what is shown. It stays where a reader has put it, or arrow keys would start again.
    const named = setup.examples.map(([, one]) => one);
    if (named[list.value - 1] !== vertex) list.value = 1 + named.indexOf(vertex);
    if (!cards.row.has(vertex)) {
      card.replaceChildren('This vertex has no card: its responses hardly repeat, or it lies outside visual cortex.');
      return;
    }
    state.vertex = vertex;
    card.replaceChildren(...cardOf(V, cards, vertex));
    V.redraw();
  };
  V.step = (x, y) => {
    const next = neighbour(V, cards.row, x, y);
    if (next >= 0) V.choose(next);
  };
  V.choose(setup.examples[0][1]);
}

function cardOf(V, { setup, of }, vertex) {
  const one = of(vertex), known = one.size > 0, share = V.values.ceiling?.[vertex];
  const regions = V.values.regions.filter(({ mask }) => mask[vertex]).map(({ name }) => name);
  const place = `${degrees(one.x, 'right', 'left')}, ${degrees(one.y, 'up', 'down')}, size ${one.size.toFixed(1)}°`;
  const text = known ? `Receptive field: ${place}` : 'Receptive field: unknown';
  const line = (name, told) => el('div', {}, el('b', {}, `${name}: `), told);
  const thumbs = one.best.map(k => {
    const [column, down] = [k % setup.columns, Math.floor(k / setup.columns)];
    const share = (at, count) => count > 1 ? 100 * at / (count - 1) : 0;
    return el('span', {
      role: 'img', 'aria-label': setup.descriptions[k], title: setup.descriptions[k], class: 'lc-thumb',
      style: `background-size:${100 * setup.columns}% ${100 * setup.rows}%;`
        + `background-position:${share(column, setup.columns)}% ${share(down, setup.rows)}%`,
    });
  });
  const where = `${vertex < N ? 'left' : 'right'} hemisphere, vertex ${vertex % N}`;
  return [
    el('div', { class: 'lc-about' },
      fieldDrawing(one, setup.width, text),
      el('div', {},
        line(regions.join(', ') || 'no named region', where),
        ...(share >= 0 ? [line('Noise ceiling', `${Math.round(100 * share)} %`)] : []),
        // A field that predicts nothing on new images is an accident of the fit.
        line('Looks at', !known ? 'unknown' : one.r < 0.1 ? `unclear (fitted: ${place})` : place),
        ...(one.r === one.r ? [line('Field alone, new images', `r = ${one.r.toFixed(2)}`)] : []),
        line('Likes the words', one.words.map(([word, x]) => `${word} ${signed(x)}`).join(', ')))),
    el('div', { class: 'lc-thumbs', role: 'group', 'aria-label': 'Best images, the best one first' }, ...thumbs),
  ];
}

// The vertex with a card that lies, a few edges away at most, in this direction on the screen, or -1.
function neighbour({ mesh, view, state }, has, dx, dy) {
  mesh.edges ||= edgesOf(mesh);
  const from = projectOne(mesh, view(), state.vertex), [sx, sy] = view().scale;
  const seen = new Set([state.vertex]);
  let rim = [state.vertex];
  for (let ring = 0; ring < 8; ring++) {
    rim = [...new Set(rim.flatMap(v => [...mesh.edges[v]]))].filter(v => !seen.has(v));
    let best = -1, most = 0.5;
    for (const v of rim) {
      seen.add(v);
      if (!has.has(v)) continue;
      const to = projectOne(mesh, view(), v), [x, y] = [(to[0] - from[0]) / sx, (to[1] - from[1]) / sy];
      const along = (x * dx + y * dy) / (Math.hypot(x, y) || 1);
      if (along > most) [most, best] = [along, v];
    }
    if (best >= 0) return best;
  }
  return -1;
}

function edgesOf({ sides }) {
  const edges = Array.from({ length: 2 * N }, () => new Set());
  for (const { faces } of sides) {
    for (let k = 0; k < faces.length; k += 3) {
      for (let i = 0; i < 3; i++) {
        const [a, b] = [faces[k + i], faces[k + (i + 1) % 3]];
        edges[a].add(b);
        edges[b].add(a);
      }
    }
  }
  return edges;
}
