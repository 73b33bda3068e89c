"""Rules for places to write to: nothing of anybody else is ever replaced."""

import os
from pathlib import Path

import pytest
from filelock import FileLock

from mvcn.errors import RunError
from mvcn.outputs import (
    begins_with,
    locked,
    remove_contents,
    require_new_file,
    require_output_folder,
    require_own_file,
    require_same_settings,
)

KIND = "report of mvcn report"


def refuse(sentence):
    return pytest.raises(RunError, match=rf"^{sentence}\.$")


class TestFolder:
    def test_new_and_empty_folders_are_free(self, tmp_path):
        for folder in (tmp_path, tmp_path / "a" / "new"):
            require_output_folder(folder, "run", is_own=False, overwrite=False)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_files_of_others_are_refused(self, tmp_path, overwrite):
        (tmp_path / "thesis.tex").write_text("years of work")
        with refuse(f"{tmp_path} holds other files: choose a new or empty folder for the run"):
            require_output_folder(tmp_path, "run", is_own=False, overwrite=overwrite)
        ignored = ("lock", "thesis.tex")
        require_output_folder(tmp_path, "run", is_own=False, overwrite=False, ignored=ignored)

    def test_an_earlier_output_is_replaced_only_on_request(self, tmp_path):
        (tmp_path / "demo.json").touch()
        require_output_folder(tmp_path, "demo", is_own=True, overwrite=True)
        with refuse(
            r".* holds another demo: choose another folder, or replace it with --overwrite"
        ):
            require_output_folder(tmp_path, "demo", is_own=True, overwrite=False)
        with refuse(".* is not finished: continue it with --resume, replace it with .*"):
            require_output_folder(tmp_path, "x", is_own=True, overwrite=False, can_resume=True)

    def test_a_file_is_no_folder(self, tmp_path):
        (tmp_path / "file").touch()
        with refuse(".*file is a file: choose a new or empty folder for the run"):
            require_output_folder(tmp_path / "file", "run", is_own=False, overwrite=True)
        with refuse(".*file is a file: choose a new or empty folder for the run"):
            require_output_folder(tmp_path / "file/a/b", "run", is_own=False, overwrite=True)

    def test_other_settings_are_named(self, tmp_path):
        before = {"seed": 1, "posts": "a"}
        require_same_settings(tmp_path, "job", before, dict(before))
        with refuse(
            r"The job in .* other settings \(posts, new\): .*, or replace it with --over.*"
        ):
            require_same_settings(tmp_path, "job", before, {"seed": 1, "posts": "b", "new": 2})
        with refuse(".*use the same ones, choose another folder"):
            require_same_settings(tmp_path, "job", {}, before, can_overwrite=False)

    def test_only_what_matches_is_removed(self, tmp_path):
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "kept.txt").touch()
        folder = tmp_path / "folder"
        (folder / "posts" / "deep").mkdir(parents=True)
        (folder / "1.png").touch()
        (folder / "letter.txt").touch()
        (folder / "link").symlink_to(outside)
        remove_contents(folder, ("*.png", "posts", "link", "absent"))
        assert [path.name for path in folder.iterdir()] == ["letter.txt"]
        assert (outside / "kept.txt").is_file()

    def test_two_processes_cannot_work_in_one_folder(self, tmp_path):
        with locked(tmp_path / "new", "search"):
            pass
        with (
            FileLock(tmp_path / "new" / "lock"),
            refuse(
                "The search in .*new is being written by another process: wait for it, or stop it"
            ),
            locked(tmp_path / "new", "search"),
        ):
            pass


class TestFile:
    def test_a_new_file_is_free(self, tmp_path):
        require_new_file(tmp_path / "a.html", overwrite=False)
        require_own_file(tmp_path / "a.html", KIND, is_own=False)

    def test_an_earlier_file_is_recognised_by_its_mark(self, tmp_path):
        path = tmp_path / "a.html"
        assert not begins_with(path, "mvcn report")
        path.write_text("<!-- mvcn report -->")
        assert begins_with(path, "mvcn report")
        require_own_file(path, KIND, is_own=True)
        path.write_text(" " * 1000 + "mvcn report")
        assert not begins_with(path, "mvcn report")
        with refuse(f".*a.html exists and is not a {KIND}: choose another file"):
            require_own_file(path, KIND, is_own=False)
        with refuse(".*a.html exists: choose another file, or replace it with --overwrite"):
            require_new_file(path, overwrite=False)
        require_new_file(path, overwrite=True)

    def test_devices_and_pipes_are_written_as_they_are(self):
        require_new_file(Path(os.devnull), overwrite=False)

    def test_places_without_a_file_are_named(self, tmp_path):
        with refuse(
            "The folder .*absent does not exist: create it first, for a.csv to be written there"
        ):
            require_new_file(tmp_path / "absent" / "a.csv", overwrite=True)
        with refuse(".* is a folder: choose a file to write to"):
            require_own_file(tmp_path, KIND, is_own=False)
        (tmp_path / "link").symlink_to(tmp_path / "gone")
        with refuse(".*link is a broken link: choose another file"):
            require_new_file(tmp_path / "link", overwrite=True)
