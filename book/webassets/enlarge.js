// A click on a figure, or Enter on the button in its corner, shows it large. Escape, a click or the button
// Close end that. Loaded once on every page (see _config.yml). Sliders, quizzes and the cortex to turn have
// controls of their own and are left alone, and so are pictures inside links.
(() => {
  const FIGURES = ['.cell_output > img', '.cell_output > .output > img', 'figure img', 'p > img']
    .map(which => `.bd-article ${which}`).join(', ');
  const LEFT_ALONE = 'a, button, [class*="latentcortex-"], .sd-card';

  const button = (text, name, onClick) => {
    const made = document.createElement('button');
    made.type = 'button';
    made.textContent = text;
    made.setAttribute('aria-label', name);
    made.addEventListener('click', onClick);
    return made;
  };

  // One dialog for all figures. The browser keeps the focus inside, closes it on Escape and gives the focus back.
  const dialog = document.createElement('dialog');
  dialog.className = 'enlarged';
  dialog.setAttribute('aria-label', 'Figure, enlarged');
  const close = button('Close', 'Close the enlarged figure', () => dialog.close());
  const room = document.createElement('div');
  room.tabIndex = 0; // a large figure is scrolled with the arrow keys
  room.setAttribute('role', 'group');
  room.setAttribute('aria-label', 'The figure; arrow keys scroll');
  room.addEventListener('click', () => dialog.close());
  dialog.append(close, room);

  const show = figure => {
    const large = document.createElement('img');
    large.src = figure.currentSrc || figure.src;
    large.alt = figure.alt;
    room.replaceChildren(large);
    dialog.showModal();
    close.focus();
  };

  const prepare = figure => {
    if (figure.closest(LEFT_ALONE)) return;
    const frame = document.createElement('span');
    frame.className = 'enlargeable';
    figure.replaceWith(frame);
    frame.append(figure, button('⤢', `Enlarge the figure: ${figure.alt}`.slice(0, 120), () => show(figure)));
    figure.addEventListener('click', () => show(figure));
  };

  const start = () => {
    document.body.append(dialog);
    document.querySelectorAll(FIGURES).forEach(prepare);
  };
  if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', start);
  else start();
})();
