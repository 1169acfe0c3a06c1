"""The terminal's page in a real browser: typed into, resized, left, and what it says when it is refused.

TRAINYARD_SCREENSHOTS names a folder to keep pictures in.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.functional.stack.test_up_and_down import api, create_job, ends
from tests.stack import RunningStack, start_stack

PATIENCE_SECONDS = 30.0


@pytest.fixture(scope="module")
def job(stack: RunningStack) -> str:
    job_id = create_job(stack, "sleep", "600")
    assert ends(stack, job_id, "Running")
    return job_id


def url_of(stack: RunningStack, job_id: str) -> str:
    (pod,) = api(stack, "GET", f"/api/jobs/{job_id}").json()["data"]["pods"]
    answer = api(stack, "GET", f"/api/jobs/{job_id}/pods/{pod}/webterminal")
    return str(answer.json()["data"]["webTerminalUrl"])


def page(stack: RunningStack) -> str:
    return f"http://localhost:{stack.local.terminal_port}/terminal"


def wait_for(look: Callable[[], Any], condition: Callable[[Any], bool] = bool) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition(seen := look()):
        assert time.monotonic() < deadline, f"last seen: {seen}"
        time.sleep(0.05)
    return seen


def screen(browser: Any) -> str:
    """The lines that xterm.js shows."""
    rows: list[str] = browser.execute_script(
        "return [...document.querySelectorAll('.xterm-rows > div')].map((row) => row.textContent)"
    )
    return "\n".join(row.replace("\u00a0", " ").rstrip() for row in rows)


def state(browser: Any) -> str:
    return str(browser.find_element("id", "state").text)


def type_in(browser: Any, text: str) -> None:
    browser.find_element("css selector", ".xterm-helper-textarea").send_keys(text)


def picture(browser: Any, name: str) -> None:
    if folder := os.environ.get("TRAINYARD_SCREENSHOTS"):
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def test_a_person_types_resizes_and_leaves(stack: RunningStack, browser: Any, job: str) -> None:
    browser.get(f"{page(stack)}#{url_of(stack, job)}")
    wait_for(lambda: state(browser), lambda text: text == "connected")
    assert "#" not in browser.current_url, "the ticket is not left in the address bar"
    type_in(browser, "echo answer=$((6*7))\n")
    wait_for(lambda: screen(browser), lambda text: "answer=42" in text)

    def columns() -> int:
        type_in(browser, "clear; echo columns=$(stty size | cut -d' ' -f2)=\n")
        shown = wait_for(lambda: screen(browser), lambda text: "\ncolumns=" in f"\n{text}")
        return int(shown.partition("columns=")[2].partition("=")[0])

    before = columns()
    browser.set_window_size(1400, 700)
    wait_for(columns, lambda now: now > before)
    type_in(browser, "clear; ls -la --color=always / | head -12; echo '你好 $((6*7))' answer=$((6*7))\n")
    wait_for(lambda: screen(browser), lambda text: "answer=42" in text)
    picture(browser, "terminal")
    type_in(browser, "exit 3\n")
    wait_for(lambda: state(browser), lambda text: text == "the shell ended with exit code 3")
    picture(browser, "terminal-closed")
    complaints = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert complaints == [], "no policy violated, nothing missing"


def test_a_flood_of_output_is_shown_to_its_end(stack: RunningStack, browser: Any, job: str) -> None:
    browser.get("about:blank")
    browser.get(f"{page(stack)}#{url_of(stack, job)}")
    wait_for(lambda: state(browser), lambda text: text == "connected")
    type_in(browser, "seq 2000000; echo the end=$((1+1))\n")
    wait_for(lambda: screen(browser), lambda text: "the end=2" in text and "2000000" in text)
    type_in(browser, "exit\n")
    wait_for(lambda: state(browser), lambda text: "exit code 0" in text)


def test_a_used_ticket_is_explained(stack: RunningStack, browser: Any, job: str) -> None:
    url = url_of(stack, job)
    for expected in ("connected", "used already"):
        browser.get("about:blank")
        browser.get(f"{page(stack)}#{url}")
        wait_for(lambda: state(browser), lambda text, expected=expected: expected in text)  # type: ignore[misc]


def test_a_ticket_can_be_pasted(stack: RunningStack, browser: Any, job: str) -> None:
    browser.get("about:blank")
    browser.get(page(stack))
    field = wait_for(lambda: browser.find_element("id", "url"))
    field.send_keys(url_of(stack, job) + "\n")
    wait_for(lambda: state(browser), lambda text: text == "connected")


def test_the_page_runs_no_script_but_its_own(stack: RunningStack) -> None:
    answer = requests.get(page(stack), timeout=10)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "<script>" not in answer.text and "onload" not in answer.text


def test_without_its_emulator_the_page_says_what_to_do(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("bare")
    running = start_stack(folder, {"TRAINYARD_TERMINAL_ASSETS": str(folder / "nothing")})
    try:
        assert "make terminal-page" in requests.get(page(running), timeout=10).text
    finally:
        running.stop()
