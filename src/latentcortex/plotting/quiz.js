// What both quizzes share: a picture, choices, an answer at once, the next picture, and the end.

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const button = (text, press) => {
  const made = el('button', { type: 'button' }, text);
  made.addEventListener('click', press);
  return made;
};
const image = (src, alt) => el('img', { src, alt, class: 'dark-light' });
const capital = text => text[0].toUpperCase() + text.slice(1);

// The arrows move among the choices, Home and End to the first and last; Tab, Enter and Space are the browser's.
function moveAmong(event) {
  const all = [...event.currentTarget.querySelectorAll('button')], k = all.indexOf(document.activeElement);
  if (k < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
  const columns = all.filter(b => b.offsetTop === all[0].offsetTop).length, last = all.length - 1;
  const steps = { ArrowRight: k + 1, ArrowLeft: k - 1, ArrowDown: k + columns, ArrowUp: k - columns, Home: 0, End: last };
  if (!(event.key in steps)) return;
  event.preventDefault();
  all[Math.min(Math.max(steps[event.key], 0), last)].focus();
}

function start(box) {
  const setup = JSON.parse(box.dataset.setup);
  const kind = setup.kind === 'brain' ? brainKind(setup) : identificationKind(setup);
  let at = 0, buttons = [], right = null;

  const progress = el('span', { class: 'lcq-progress' }), shown = el('div', { class: 'lcq-shown' });
  // Emptied and filled, never replaced, so that screen readers speak what is put there.
  const feedback = el('p', { class: 'lcq-feedback', role: 'status', 'aria-live': 'polite' });
  const choices = el('div', { role: 'group' }), score = el('div', { class: 'lcq-score' });
  const end = el('div', { class: 'lcq-end', tabindex: '-1', role: 'group', 'aria-label': 'Your result' });
  const next = button('Next picture', () => Q.advance()), again = button('Start again', () => Q.restart());
  choices.addEventListener('keydown', moveAmong);

  const Q = {
    kind, setup, wilson,
    // Asks about picture `at`; the focus follows a reader who came here by a button.
    ask(focus) {
      const asked = kind.ask(at);
      right = null;
      progress.textContent = `Picture ${at + 1} of ${kind.n}`;
      shown.replaceChildren(image(asked.picture, asked.alt));
      feedback.textContent = asked.question;
      next.hidden = true;
      buttons = asked.choices.map((choice, place) => {
        const made = button('', () => Q.pick(place));
        made.append(choice.text || image(choice.picture, choice.alt), el('span', { class: 'lcq-mark' }));
        return made;
      });
      const many = asked.choices.length;
      choices.className = `lcq-choices ${asked.choices[0].text ? 'lcq-texts' : 'lcq-images'}`;
      choices.style.setProperty('--narrow', Math.min(many, 5));
      choices.style.setProperty('--wide', Math.min(many, many > 10 ? 7 : 5));
      choices.setAttribute('aria-label', asked.question);
      choices.replaceChildren(...buttons);
      if (focus) buttons[0].focus({ preventScroll: true });
    },
    pick(place) {
      if (right !== null) return;
      const told = kind.mark(at, place);
      right = told.right;
      feedback.textContent = told.text;
      buttons.forEach((made, k) => {
        made.setAttribute('aria-disabled', 'true');
        const state = k === right ? 'right' : k === place ? 'wrong' : '';
        if (!state) return;
        made.dataset.state = state;
        made.querySelector('.lcq-mark').textContent = k !== place ? '✓ this one' : state === 'right' ? '✓ yours' : '✗ yours';
      });
      next.textContent = at + 1 < kind.n ? 'Next picture' : 'See your result';
      next.hidden = false;
      score.replaceChildren(...kind.score());
      next.focus({ preventScroll: true });
    },
    // The reader wants other choices: those of a question that is still open are offered anew.
    changed() { if (right === null && at < kind.n) Q.ask(false); },
    advance() {
      at += 1;
      if (at < kind.n) return Q.ask(true);
      box.dataset.stage = 'end';
      progress.textContent = `All ${kind.n} pictures answered`;
      end.replaceChildren(...kind.end());
      end.focus({ preventScroll: true });
    },
    restart() {
      at = 0;
      kind.restart();
      box.dataset.stage = 'play';
      score.replaceChildren(...kind.score());
      Q.ask(true);
    },
  };
  // JupyterLab looks for this on what has the focus first; otherwise its shortcuts take the arrows.
  box.addEventListener('focusin', event => { event.target.dataset.lmSuppressShortcuts = 'true'; });
  const head = el('div', { class: 'lcq-row' }, ...kind.enter(Q), progress, again);
  const side = el('div', { class: 'lcq-side' }, feedback, next);
  box.querySelector('.lcq-live').replaceChildren(
    head, el('div', { class: 'lcq-play' }, el('div', { class: 'lcq-stage' }, shown, side), choices), end, score);
  box.dataset.stage = 'play';
  score.replaceChildren(...kind.score());
  Q.ask(false);
  box.dataset.live = 'yes';
  box.latentcortex = Q;
}

// A page may hold several quizzes, and the same one twice; each script starts whatever has not started.
for (const box of document.querySelectorAll('.latentcortex-quiz:not([data-started])')) {
  box.dataset.started = 'yes';
  try {
    start(box);
  } catch (error) {
    const line = box.querySelector('.lcq-problem');
    line.textContent = `The quiz could not be started (${error.message}), so its pictures stay still.`;
    line.hidden = false;
  }
}
