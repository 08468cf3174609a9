// What `make check-pages` asks of a page in the browser; each entry is one function. Run by check_pages.py, on
// no page of the book.
(() => {
  const visible = element => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });

  // How an element is named in a fault: tag, id, classes and the start of its text.
  const named = element => {
    const text = (element.getAttribute('aria-label') || element.textContent || '').trim().replace(/\s+/g, ' ');
    const classes = [...element.classList].slice(0, 3).map(name => '.' + name).join('');
    return `<${element.localName}${element.id ? '#' + element.id : ''}${classes}> "${text.slice(0, 50)}"`;
  };

  // [red, green, blue, alpha], 0 to 255 and 0 to 1, of a colour as getComputedStyle gives it.
  const colour = text => {
    const numbers = (text.match(/-?[\d.]+(e-?\d+)?/g) || []).map(Number);
    if (text.startsWith('color(srgb')) for (let k = 0; k < 3; k++) numbers[k] *= 255;
    return [...numbers.slice(0, 3), numbers.length > 3 ? numbers[3] : 1];
  };
  const over = (top, bottom) => [0, 1, 2].map(k => top[k] * top[3] + bottom[k] * (1 - top[3]));
  const luminance = rgb => rgb.reduce((sum, value, k) => {
    const part = value / 255;
    return sum + [0.2126, 0.7152, 0.0722][k] * (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  }, 0);

  // The opaque colour behind an element, or null where a picture lies behind it. Gradients are left out: the
  // shadows at the edges of tables are some, and axe gives up on them.
  const ground = element => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.backgroundImage.includes('url(')) return null;
      layers.push(colour(style.backgroundColor));
      if (layers.at(-1)[3] === 1) break;
    }
    return layers.reduceRight((below, layer) => over(layer, below), [255, 255, 255]);
  };

  // WCAG's ratio of an element's text and its ground, and the ratio that it needs at its size.
  const contrast = element => {
    const behind = ground(element), style = getComputedStyle(element);
    if (!behind) return null;
    const ink = colour(style.color);
    for (let at = element; at; at = at.parentElement) ink[3] *= +getComputedStyle(at).opacity;
    const [dark, light] = [luminance(over(ink, behind)), luminance(behind)].sort((a, b) => a - b);
    const size = parseFloat(style.fontSize), bold = +style.fontWeight >= 700;
    return { ratio: (light + 0.05) / (dark + 0.05), needed: size >= 24 || (bold && size >= 18.66) ? 3 : 4.5 };
  };

  const SELECTORS = {
    slider: '.bd-article input[type=range]',
    // Buttons that copy code are the theme's; what they change, the clipboard, cannot be read here.
    button: '.bd-article button:not([disabled], .copybtn)',
    details: '.bd-article details > summary',
  };

  const digest = text => {
    let sum = 0;
    for (let k = 0; k < text.length; k++) sum = (sum * 31 + text.charCodeAt(k)) | 0;
    return sum;
  };

  return {
    // Set the colour mode and unfold what is folded.
    show: mode => {
      document.documentElement.dataset.mode = document.documentElement.dataset.theme = mode;
      document.querySelectorAll('details').forEach(details => { details.open = true; });
      document.querySelectorAll('.toggle-hidden').forEach(box => box.classList.remove('toggle-hidden'));
    },

    // Elements that stick out of the window and can't be scrolled to within a frame of their own.
    wide: () => {
      const room = document.documentElement.clientWidth;
      const framed = element => {
        for (let at = element.parentElement; at && at !== document.body; at = at.parentElement) {
          if (getComputedStyle(at).overflowX !== 'visible') return true;
        }
        return false;
      };
      const out = [...document.querySelectorAll('.bd-article *')].filter(element => {
        const box = element.getBoundingClientRect();
        return box.width > 1 && box.right > room + 1 && visible(element) && !framed(element);
      });
      // The innermost ones: what holds them sticks out because of them.
      const inner = out.filter(element => ![...element.children].some(child => out.includes(child)));
      return { beyond: document.documentElement.scrollWidth - room, elements: inner.slice(0, 5).map(named) };
    },

    pictures: () => [...document.images].filter(image => image.complete && !image.naturalWidth)
      .map(image => image.getAttribute('src') || named(image)),

    // Text that is too pale for its ground, one element of each look.
    contrast: () => {
      const looks = new Map(), seen = new Set();
      const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      while (texts.nextNode()) {
        const element = texts.currentNode.parentElement;
        if (!texts.currentNode.textContent.trim() || seen.has(element)) continue;
        seen.add(element);
        const box = element.getBoundingClientRect();
        if (box.width <= 1 || element.closest('script, style, option, svg, :disabled, [aria-disabled=true]')) continue;
        const found = visible(element) ? contrast(element) : null;
        if (!found || found.ratio >= found.needed - 0.01) continue;
        const look = `${getComputedStyle(element).color} ${element.localName} ${element.className}`;
        if (!looks.has(look)) looks.set(look, { element: named(element), ...found });
      }
      return [...looks.values()];
    },

    // How many controls of a kind the page has; `focus` takes one of them.
    controls: kind => {
      window.checkedControls = [...document.querySelectorAll(SELECTORS[kind])];
      return window.checkedControls.length;
    },

    // Focus a control and return its name; null if no reader sees it now, or if it leads back to where a page begins,
    // as a choice that is made already and a button that starts again do: at the beginning they change nothing.
    focus: ([, k]) => {
      const control = window.checkedControls[k];
      if (!control.isConnected || !control.checkVisibility({ visibilityProperty: true })) return null;
      if (control.matches('[aria-disabled=true], [aria-pressed=true]') || /^(start again|reset)$/i.test(control.textContent.trim())) return null;
      if (control.type === 'range' && +control.value >= +control.max) {
        control.value = control.min;
        control.dispatchEvent(new Event('input', { bubbles: true }));
      }
      window.checkedControl = control;
      control.focus();
      return named(control);
    },

    // What a reader could notice after a key: the article without the control itself, drawings, dialogs.
    state: kind => {
      const control = window.checkedControl;
      if (kind === 'details') return control.parentElement.open;
      const article = document.querySelector('.bd-article').innerHTML;
      const drawn = [...document.querySelectorAll('.bd-article canvas')].map(canvas => canvas.toDataURL());
      const without = kind === 'slider' ? article.replace(control.outerHTML, '') : article;
      const where = [...document.querySelectorAll('dialog')].map(dialog => dialog.open).join();
      return [digest(without), digest(drawn.join()), where].join(' ');
    },

    release: () => document.querySelectorAll('dialog[open]').forEach(dialog => dialog.close()),
  };
})()
