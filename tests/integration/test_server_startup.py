"""A start that fails half-way leaves nothing open, and a server that ends can be started again."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import stub_work
from server_settings import settings

from duikou.database.engine import Database
from duikou.errors import StorageError
from duikou.server import startup
from duikou.tasks.retention import RetentionSweeper


def threads() -> set[threading.Thread]:
    """duikou's threads, also those that all servers of a process share and that stay."""
    return {one for one in threading.enumerate() if one.name.startswith("duikou-")}


def test_a_start_that_fails_half_way_closes_what_it_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, before = settings(tmp_path), threads()

    def start(_: object) -> None:
        raise StorageError("the sweeper cannot start")

    with monkeypatch.context() as patch:
        patch.setattr(RetentionSweeper, "start", start)
        with pytest.raises(StorageError, match="the sweeper cannot start"), startup.running(given, stub_work.WORK):
            raise AssertionError("unreachable")
    assert threads() <= before
    with startup.running(given, stub_work.WORK) as context:
        assert context.service.missing() == []
        assert threads() - before
    assert threads() <= before
    assert context.service.draining


def test_a_folder_in_use_stays_with_its_server(tmp_path: Path) -> None:
    given = settings(tmp_path)
    with startup.running(given, stub_work.WORK) as context:
        with pytest.raises(StorageError, match="is in use by another duikou server"), startup.running(given):
            raise AssertionError("unreachable")
        assert context.service.missing() == []


def test_what_is_missing_is_told_without_the_text_of_an_unexpected_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("cannot connect to postgresql://u:pass-word@host")

    with startup.running(settings(tmp_path), stub_work.WORK) as context:
        monkeypatch.setattr(Database, "ping", fail)
        assert context.service.missing() == ["something unexpected is wrong; the server's log has the details"]
        assert context.service.warnings() == []
