"""The quizzes, played: a browser gets real keys, and the score is that of an independent count."""

import html
import json

import pytest
from browser import BROWSER, Browser, opened
from quiz_pages import WAYS, N, brain, setup_of, which
from scipy import stats

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")

FOCUS = "document.activeElement"
TAB, ENTER, SPACE, RIGHT = ("Tab", 9), ("Enter", 13, "\r"), (" ", 32, " "), ("ArrowRight", 39)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    made = Browser(tmp_path_factory.mktemp("browser"))
    yield made
    made.close()


@pytest.fixture
def show(browser, tmp_path):
    with opened(browser, tmp_path, "<title>quiz</title>") as show:
        yield show


def text(browser, selector, k=0):
    return browser.tell(f"document.querySelectorAll({json.dumps(selector)})[{k}].textContent")


def focused(browser):
    """The place of the focused choice, or the text of another focused button."""
    return browser.tell(
        f"(k => k < 0 ? {FOCUS}.textContent : k)"
        f"([...document.querySelectorAll('.lcq-choices button')].indexOf({FOCUS}))"
    )


def table(browser):
    """The cells of the score: a list of texts for each row."""
    return browser.tell(
        "[...document.querySelectorAll('.lcq-score tbody tr')].map(r => "
        "[...r.children].map(c => c.firstChild ? c.firstChild.textContent : ''))"
    )


def test_intervals_are_wilsons(show):
    browser = show(which())
    cases = [(right, n) for n in (1, 2, 8, 24, 200) for right in {0, 1, n // 2, n - 1, n}]
    call = f"{json.dumps(cases)}.map(([k, n]) => document.querySelector('.latentcortex-quiz').latentcortex"
    for (right, n), found in zip(cases, browser.tell(f"{call}.wilson(k, n))"), strict=True):
        expected = stats.binomtest(right, n).proportion_ci(0.95, method="wilson")
        assert found == pytest.approx(list(expected), abs=1e-9)


def test_a_reader_plays_by_keyboard_alone(show):
    page = which()
    browser, setup = show(page), setup_of(page)
    for _ in range(30):  # from the top of the page to the first candidate
        browser.press(*TAB)
        if focused(browser) == 0:
            break
    counts = {w: [0, 0, 0] for w in range(len(WAYS))}  # asked, right, rival right
    for k in range(N):
        w = k // 2  # the number of candidates rises by itself after a third of the pictures
        assert focused(browser) == 0
        assert text(browser, ".lcq-feedback") == f"Which of these {WAYS[w]} images was seen?"
        place = k % WAYS[w]
        for _ in range(place):
            browser.press(*RIGHT)
        assert focused(browser) == place
        browser.press(*(ENTER if k % 2 else SPACE))
        right = setup["right"][w][k]
        assert text(browser, ".lcq-feedback").startswith(
            "Right." if place == right else f"No: candidate {right + 1} was seen."
        )
        counts[w][0] += 1
        counts[w][1] += place == right
        counts[w][2] += setup["rivals"][0]["picks"][w][k] == right
        assert focused(browser) == ("Next picture" if k + 1 < N else "See your result")
        browser.press(*ENTER)
    you, judge, chance = table(browser)
    assert you == ["You", *(f"{right} of {n}" for n, right, _ in counts.values())]
    assert judge == ["The <judge>", *(f"{right} of {n}" for n, _, right in counts.values())]
    assert chance == ["Chance", "50 %", "25 %", "11 %"]
    assert browser.tell(f"{FOCUS}.getAttribute('aria-label')") == "Your result"
    said = text(browser, ".lcq-end")
    low, high = stats.binomtest(counts[0][1], 2).proportion_ci(0.95, method="wilson")
    assert (
        f"found {counts[0][1]} of 2 images" in said
        and f"interval {100 * low:.0f} to {100 * high:.0f} %" in said
    )


def test_arrows_stop_at_the_ends_and_home_and_end_go_there(show):
    browser = show(which(n_ways=(9,)))
    browser.tell("document.querySelector('.lcq-choices button').focus()")
    for key, place in (
        *((("ArrowLeft", 37), 0), (("End", 35), 8), (RIGHT, 8), (("ArrowUp", 38), 3)),
        *((("ArrowDown", 40), 8), (("Home", 36), 0)),
    ):
        browser.press(*key)
        assert focused(browser) == place


def test_a_second_answer_to_the_same_question_does_not_count(show):
    browser = show(which())
    browser.tell("document.querySelectorAll('.lcq-choices button').forEach(b => { b.click(); b.click(); })")
    assert [row[1].split(" of ")[-1] for row in table(browser)[:2]] == ["1", "1"]


def test_a_reader_chooses_how_many_and_it_stays_so(show):
    page = which()
    browser, setup = show(page), setup_of(page)
    browser.tell("document.querySelectorAll('.lcq-ways button')[2].click()")
    for k in range(N):
        assert browser.tell("document.querySelectorAll('.lcq-choices button').length") == 9
        browser.tell(f"document.querySelectorAll('.lcq-choices button')[{setup['right'][2][k]}].click()")
        browser.tell("document.querySelector('.lcq-side button').click()")
    assert table(browser)[0] == ["You", "–", "–", f"{N} of {N}"]
    assert "The whole interval lies above chance." in text(browser, ".lcq-end")
    browser.tell(
        "[...document.querySelectorAll('button')].find(b => b.textContent === 'Start again').click()"
    )
    assert table(browser)[0] == ["You", "–", "–", "–"]
    assert text(browser, ".lcq-progress") == f"Picture 1 of {N}"


def test_labels_are_hidden_until_the_reader_has_chosen(show):
    page = brain()
    browser, setup = show(page), setup_of(page)
    answers, n_right = [0, 0, 1, 1], 0
    browser.tell("document.querySelector('.lcq-choices button').focus()")
    for k, answer in enumerate(answers):
        seen = browser.tell("document.querySelector('.lcq-live').innerHTML")
        assert "decoded" not in seen and "made up" not in seen and "data-state" not in seen
        for _ in range(answer):
            browser.press(*RIGHT)
        browser.press(*ENTER)
        how = "decoded" if setup["needed"][k] else "made up"
        right = answer == (0 if setup["needed"][k] else 1)
        assert text(browser, ".lcq-feedback") == f"{'Right' if right else 'No'}: {how}."
        n_right += right
        browser.press(*ENTER)
    said = text(browser, ".lcq-end")
    low, high = stats.binomtest(n_right, 4).proportion_ci(0.95, method="wilson")
    assert f"sorted {n_right} of 4" in said and f"{100 * low:.0f} to {100 * high:.0f} %" in said
    assert "in 90 % of pairs" in said and "in 50 % where" in said
    assert browser.tell("document.querySelectorAll('.lcq-gallery img').length") == 8


def test_several_quizzes_and_the_same_one_twice_live_on_one_page(show):
    browser = show(which(), brain(), which())
    assert (
        browser.tell("[...document.querySelectorAll('.latentcortex-quiz')].map(b => b.dataset.live)")
        == ["yes"] * 3
    )
    browser.tell("document.querySelector('.lcq-choices button').click()")
    assert text(browser, ".lcq-progress", 2) == f"Picture 1 of {N}"
    assert browser.tell("document.querySelectorAll('.lcq-mark:not(:empty)').length") in (1, 2)


def test_every_control_and_picture_has_a_name(show):
    words = [f"drawn {k}" for k in range(N)], [f"seen {k}" for k in range(9)]
    browser = show(which(descriptions=words))
    alts = browser.tell("[...document.querySelectorAll('.lcq-live img')].map(i => i.alt)")
    assert alts[0] == "A made-up picture: drawn 0"
    assert len(alts) == 3 and all(a.startswith(f"Candidate {k + 1}: seen") for k, a in enumerate(alts[1:]))
    unnamed = (
        "[...document.querySelectorAll('button')].filter(b => !b.textContent && !b.querySelector('[alt]'))"
    )
    assert browser.tell(f"{unnamed}.length") == 0
    assert browser.tell("document.querySelector('.lcq-feedback').getAttribute('aria-live')") == "polite"


def test_a_page_whose_script_fails_keeps_its_picture_and_says_why(show):
    page = which().replace("kind&quot;: &quot;identification", "kinds&quot;: &quot;identification")
    broken = page.replace("&quot;pool&quot;", "&quot;pond&quot;")
    browser = show(broken)
    assert browser.tell("getComputedStyle(document.querySelector('.lcq-still')).display") == "block"
    assert "could not be started" in text(browser, ".lcq-problem")


def test_it_plays_in_a_sandboxed_frame_as_colab_has_them(show):
    tell = "parent.postMessage(document.querySelector('.latentcortex-quiz').dataset.live, '*')"
    inner = html.escape(f"{which()}<script>{tell}</script>")
    listen = "<script>addEventListener('message', event => { window.said = event.data; });</script>"
    browser = show(f'{listen}<iframe sandbox="allow-scripts" srcdoc="{inner}"></iframe>')
    for _ in range(50):
        if browser.tell("window.said"):
            break
    assert browser.tell("window.said") == "yes"


def test_it_starts_where_scripts_are_made_again_as_in_jupyterlab(show):
    browser = show()
    made = json.dumps(which()).replace("</", "<" + chr(92) + "/")
    browser.tell(
        f"""{{ const host = document.createElement('div'); host.innerHTML = {made};
        document.body.append(host);
        for (const old of host.querySelectorAll('script')) {{
          const again = document.createElement('script');
          again.textContent = old.textContent;
          old.replaceWith(again);
        }} }}"""
    )
    assert browser.tell("document.querySelector('.latentcortex-quiz').dataset.live") == "yes"
