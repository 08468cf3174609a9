// The two kinds of quiz. Each says how many pictures there are, what is asked about picture k, what a choice
// means, and what stands at the end. Q is the quiz that a reader plays, see quiz.js.

const Z = 1.959963984540054; // 97.5 % of a normal distribution lie below it

// Wilson's 95 % interval of a share, from the number of right answers and of all.
function wilson(right, n) {
  if (!n) return [0, 1];
  const share = right / n, z2 = Z * Z / n, middle = (share + z2 / 2) / (1 + z2);
  const half = Z / (1 + z2) * Math.sqrt(share * (1 - share) / n + z2 / (4 * n));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

const percent = share => `${Math.round(100 * share)} %`;
const interval = (right, n) => {
  const [low, high] = wilson(right, n);
  return `${Math.round(100 * low)} to ${percent(high)}`;
};
const sum = list => list.reduce((a, b) => a + b, 0);
const listed = texts => texts.length < 2 ? texts.join('')
  : `${texts.slice(0, -1).join(', ')} and ${texts[texts.length - 1]}`;
const inWords = (alt, descriptions, k) => alt + (descriptions.length ? `: ${descriptions[k]}` : '');

// What a reader's score says of chance, in one sentence.
function againstChance(right, n, chance) {
  const [low, high] = wilson(right, n);
  if (low > chance) return 'The whole interval lies above chance.';
  if (high < chance) return 'The whole interval lies below chance.';
  return 'The interval holds chance: from so many answers, guessing cannot be ruled out.';
}

function identificationKind(setup) {
  const { n_ways: ways, pictures, pool, rivals } = setup, n = pictures.length;
  // ways[at] is what the next question offers. It rises by itself after equal shares of all pictures.
  let at = 0, chosen = false, doneAt = [];
  const share = Math.ceil(n / ways.length);
  const tally = (w, of) => doneAt.filter(done => done.w === w && done[of]).length;
  const asked = w => doneAt.filter(done => done.w === w).length;

  const buttons = ways.map((way, w) => button(`${way}`, () => choose(w)));
  let Q = null;
  function choose(w) {
    at = w;
    chosen = true;
    press();
    Q.changed();
  }
  const press = () => buttons.forEach((b, w) => b.setAttribute('aria-pressed', String(w === at)));

  const kind = {
    n,
    enter(quiz) {
      Q = quiz;
      press();
      const group = el('div', { class: 'lcq-ways', role: 'group', 'aria-label': 'Number of candidates' });
      group.append(el('span', {}, 'Candidates:'), ...buttons);
      return [group];
    },
    restart() {
      doneAt = [];
      at = 0;
      chosen = false;
      press();
    },
    ask(k) {
      return {
        picture: pictures[k],
        alt: inWords(setup.alt, setup.of_pictures, k),
        question: `Which of these ${ways[at]} images was seen?`,
        choices: setup.offered[at][k].map((row, place) => ({
          picture: pool[row], alt: inWords(`Candidate ${place + 1}`, setup.of_pool, row),
        })),
      };
    },
    mark(k, place) {
      const right = setup.right[at][k], done = { w: at, k, you: place === right };
      rivals.forEach(({ picks }, r) => { done[`rival${r}`] = picks[at][k] === right; });
      doneAt.push(done);
      const fell = rivals.map(({ name }, r) => `${name} was ${done[`rival${r}`] ? 'right' : 'wrong'}`);
      let text = done.you ? 'Right.' : `No: candidate ${right + 1} was seen.`;
      if (fell.length) text += ` ${capital(listed(fell))}.`;
      if (!chosen && at + 1 < ways.length && asked(at) === share && k + 1 < n) {
        at += 1;
        press();
        text += ` From here on, ${ways[at]} candidates.`;
      }
      return { right, text };
    },
    score() {
      const cell = (w, of) => {
        const count = tally(w, of), total = asked(w);
        if (!total) return el('td', {}, '–');
        return el('td', {}, `${count} of ${total}`, el('small', {}, interval(count, total)));
      };
      const row = (name, of) => el('tr', {}, el('th', { scope: 'row' }, name), ...ways.map((_, w) => cell(w, of)));
      const chances = ways.map(way => el('td', {}, percent(1 / way)));
      const head = ways.map(way => el('th', { scope: 'col' }, `of ${way}`));
      return [el('table', {},
        el('caption', {}, 'Right answers so far, with Wilson’s 95 % interval. Rivals answered the same questions as you.'),
        el('thead', {}, el('tr', {}, el('td'), ...head)),
        el('tbody', {}, row('You', 'you'), ...rivals.map(({ name }, r) => row(capital(name), `rival${r}`)),
          el('tr', {}, el('th', { scope: 'row' }, 'Chance'), ...chances)))];
    },
    end() {
      const lines = ways.map((way, w) => [way, tally(w, 'you'), asked(w)]).filter(([, , total]) => total)
        .map(([way, right, total]) => `Among ${way} candidates you found ${right} of ${total} images `
          + `(${percent(right / total)}, 95 % interval ${interval(right, total)}; chance ${percent(1 / way)}). `
          + againstChance(right, total, 1 / way));
      const all = rivals.map(({ name, picks }) => `${name} finds ` + listed(ways.map((way, w) =>
        `${sum(picks[w].map((place, k) => +(place === setup.right[w][k])))} among ${way}`)));
      if (all.length) lines.push(`Asked about all ${n} reconstructions, ${all.join('; ')}.`);
      lines.push('Start again with another number of candidates to meet the same reconstructions. '
        + 'A score means nothing until one knows how many candidates there were.');
      return lines.map(text => el('p', {}, text));
    },
  };
  return kind;
}

function brainKind(setup) {
  const { pictures, originals, needed, names } = setup, n = pictures.length;
  let rights = [];
  const how = k => names[needed[k] ? 0 : 1];
  const gallery = wanted => el('div', { class: 'lcq-gallery' }, ...pictures.flatMap((src, k) =>
    needed[k] === wanted ? [el('div', {},
      image(src, `Picture ${k + 1}, ${how(k)}`), image(originals[k], `What was seen, compared with picture ${k + 1}`),
    )] : []));
  return {
    n,
    enter: () => [],
    restart() { rights = []; },
    ask: k => ({
      picture: pictures[k],
      alt: setup.alt,
      question: 'Did this picture need a brain?',
      choices: [{ text: 'It needed a brain' }, { text: 'It needed none' }],
    }),
    mark(k, place) {
      const right = needed[k] ? 0 : 1;
      rights.push(place === right);
      return { right, text: `${place === right ? 'Right' : 'No'}: ${how(k)}.` };
    },
    score: () => [],
    end() {
      const right = sum(rights.map(Number)), [withBrain, without] = setup.identified.map(percent);
      const learned = wilson(right, n)[0] > 0.5
        ? ' So you saw a difference in style between the two kinds. It says nothing about what was seen.' : '';
      return [
        el('p', {}, `You sorted ${right} of ${n} pictures rightly (${percent(right / n)}, Wilson’s 95 % interval `
          + `${interval(right, n)}). Guessing reaches 50 %. ${againstChance(right, n, 0.5)}${learned}`),
        el('p', {}, 'You had only the looks of a picture to go by, and good looks are no evidence: the diffusion '
          + 'model paints likely scenes with and without a brain. Evidence comes from a comparison with what was '
          + `seen. A network that makes it tells the right image from another one in ${withBrain} of pairs where a `
          + `picture needed a brain, and in ${without} where it needed none.`),
        el('p', { class: 'lcq-head' }, `${capital(names[0])} (top), and what was seen (below):`), gallery(true),
        el('p', { class: 'lcq-head' }, `${capital(names[1])} (top), and the image that it is compared with (below):`),
        gallery(false),
      ];
    },
  };
}
