"""The files of the page: words in both languages, nothing from elsewhere, modules that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from duikou import studio

FOLDER = Path(studio.__file__).parent
MODULES = sorted(FOLDER.rglob("*.js"))
WORDS = sorted((FOLDER / "words").glob("*.js"))
KEY = re.compile(r'^ +"([\w.]+)":\s*((?:"(?:[^"\\]|\\.)*"|\s|\+)*)', re.MULTILINE)
ELSEWHERE = re.compile(r"https?://(?!example\.com|www\.w3\.org/2000/svg)\w[\w.-]*")


def words(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The English and the Chinese words of a file, by key."""
    english, chinese = re.split(r"^(?:const| ) ?zh(?: =|:) \{", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(KEY.findall(english)), dict(KEY.findall(chinese))


@pytest.mark.parametrize("path", WORDS, ids=lambda path: path.stem)
def test_both_languages_say_the_same_things_with_the_same_values(path: Path) -> None:
    english, chinese = words(path)
    assert len(english) > 50
    assert english.keys() == chinese.keys()
    named = {key: sorted(set(re.findall(r"\{\w+\}", said))) for key, said in english.items()}
    assert named == {key: sorted(set(re.findall(r"\{\w+\}", said))) for key, said in chinese.items()}


@pytest.mark.parametrize("path", WORDS, ids=lambda path: path.stem)
def test_chinese_words_are_chinese(path: Path) -> None:
    _, chinese = words(path)
    plain = {key for key, said in chinese.items() if not re.search(r"[\u4e00-\u9fff]", said)}
    assert len(plain) < 0.1 * len(chinese), plain  # names, formats and commands are the same in both


def test_every_key_that_is_named_has_words() -> None:
    known = {key for path in WORDS for key in words(path)[0]}
    named = {
        (path.name, key)
        for path in MODULES
        for key in re.findall(r'\bt\(\s*"([\w.]+)"', path.read_text(encoding="utf-8"))
    }
    assert len(named) > 100
    assert {(name, key) for name, key in named if key not in known} == set()


def test_the_page_names_no_other_origin() -> None:
    files = [*MODULES, *FOLDER.glob("*.css"), *FOLDER.glob("*.html"), *FOLDER.glob("*.svg")]
    found = {(path.name, url) for path in files for url in ELSEWHERE.findall(path.read_text(encoding="utf-8"))}
    assert found == set()


def test_modules_import_modules_that_exist_and_lines_are_short() -> None:
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r'from "([^"]+)"', text):
            assert (path.parent / name).is_file(), f"{path.name}: {name}"
        assert max(map(len, text.splitlines())) <= 120, path.name
