"""The examples of docs/client.md and of the README files, against servers on this machine."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stub_work
from kling_host import ACCESS, PLAIN, SECRET, kling_host
from live_server import in_thread
from server_settings import settings

import duikou.client
from duikou.tasks.webhooks import signed_headers

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/client.md").read_text()


def examples(text: str) -> list[str]:
    """The Python blocks that use the client."""
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [block for block in blocks if "duikou.client" in block]


EXAMPLES = {
    f"{path} {number}": block
    for path in ("docs/client.md", "README.md", "client/README.md")
    for number, block in enumerate(examples((ROOT / path).read_text()))
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What stands in the examples, and what takes its place here."""
    data = tmp_path_factory.mktemp("data")
    with (
        in_thread(settings(data), stub_work.WORK) as own,
        kling_host() as kling,
        kling_host(prefix="/klingai") as gateway,
    ):
        yield {
            "http://127.0.0.1:8000": str(own.base_url).rstrip("/"),
            "https://api-singapore.klingai.com": kling.url,
            "https://api.302.ai/klingai": gateway.url,
            "your-access-key": ACCESS,
            "your-secret-key": SECRET,
            "your-api-key": PLAIN,
        }


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name: str, servers: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "talk.mp4").write_bytes(stub_work.video())
    (tmp_path / "speech.mp3").write_bytes(stub_work.sound())
    code = EXAMPLES[name]
    for there, here in servers.items():
        code = code.replace(there, here)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, name, "exec"), names)
    if "download(" in code:
        assert any((tmp_path / result).exists() for result in ("spoken.mp4", "face.jpg"))
    if "receive" in names:
        body, secret = b'{"task_id": "1", "task_status": "failed", "created_at": 1, "updated_at": 2}', "whsec_c2VjcmV0"
        signed = signed_headers(body, "1", int(time.time()), secret)
        assert (names["receive"](body, signed, secret), names["receive"](b"{}", signed, secret)) == (204, 401)


def test_the_page_names_every_call_and_error() -> None:
    calls = {name for name in vars(duikou.client.Duikou) if not name.startswith("_")} - {"close"}
    errors = {name for name in duikou.client.__all__ if name.endswith("Error")}
    assert [name for name in sorted(calls) if f"`{name}(" not in PAGE] == []
    assert [name for name in sorted(errors) if f"`{name}`" not in PAGE and name not in PAGE] == []
    for option in duikou.client.TaskOptions.__optional_keys__:
        assert f"`{option}`" in PAGE


def test_the_page_has_the_clients_figures() -> None:
    usual = duikou.client.Retry()
    assert (usual.tries, usual.first_wait_s) == (6, 0.5)
    assert f"for {usual.outage_s:g} s (`Retry.outage_s`)" in PAGE
